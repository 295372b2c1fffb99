"""Numbers as a person reads them. What nobody obtained is said to be so: every one of these takes None."""

from __future__ import annotations

import math

from markupsafe import Markup

ABSENT = Markup('<span class="absent">not measured</span>')
_THIN = "\u202f"
_MINUS = "\u2212"


def known(value: float | None) -> bool:
    """Whether there is a finite number to speak of."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3) -> str:
    """Rounded to so many digits, thousands set apart."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × 10{_superscript(int(exponent))}".replace("-", _MINUS)
    whole = value == round(value)
    places = 0 if whole else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}".replace(",", _THIN).replace("-", _MINUS)


def amount(value: float | None) -> str:
    """A large count in thousands or millions: "1.85 M"."""
    if value is None or not math.isfinite(value):
        return ABSENT
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{_significant(value / size)} {letter}"
    return number(value)


def in_words(value: float | None) -> str:
    """A large count for a sentence: "1.85 million"."""
    if value is None or not math.isfinite(value):
        return ABSENT
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if abs(value) >= 0.9995 * size:
            return f"{_significant(value / size)} {word}"
    return number(value)


def size(value: float | None) -> str:
    """Bytes, a kilobyte being 1024 as on the boards' own pages."""
    if value is None or not math.isfinite(value):
        return ABSENT
    for unit, bytes_ in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if value >= bytes_:
            return f"{_significant(value / bytes_)} {unit}"
    return f"{value:.0f} bytes"


def percent(share: float | None) -> str:
    """A share of 1 as a percentage, to three digits at most."""
    if share is None or not math.isfinite(share):
        return ABSENT
    value = 100 * share
    places = 0 if abs(value) >= 99.5 or value == 0 else 1 if abs(value) >= 1 else 2
    return f"{value:.{places}f}{_THIN}%".replace("-", _MINUS)


def change(ratio: float | None) -> str:
    """A ratio as a change: 1.021 is "+2.1 %"."""
    if ratio is None or not math.isfinite(ratio):
        return ABSENT
    value = round(100 * (ratio - 1), 1)
    sign = "+" if value > 0 else _MINUS if value < 0 else "±"
    return f"{sign}{abs(value):.1f}{_THIN}%"


def duration(seconds: float | None) -> str:
    """A time span, in the two units that matter."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    if seconds < 60:
        return f"{number(seconds, 2 if seconds < 10 else 3)} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _significant(value: float) -> str:
    places = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{0 if value == round(value) else places}f}".replace("-", _MINUS)


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
