"""The manifest of a .pochette file: what it says, and how every word of it is checked.

The manifest is data from a stranger until each field has been found to be of its type and within its range. The same
check runs before a file is written, so that nothing is written that could not be read.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, get_args

import pochette
from pochette.control import Control
from pochette.engine.precision import Precision
from pochette.engine.source import MOST_CONTROLS
from pochette.errors import InstrumentError

SCHEMA_VERSION = 1
MANIFEST_LIMIT_BYTES = 1 << 20
DEPTH_LIMIT = 32
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,32}")


@dataclass(frozen=True)
class Manifest:
    """What an instrument says of itself; see docs/pochette-file.md for the meaning of each field."""

    name: str
    """Short name for files and hosts: letters, digits, "-" and "_"."""
    title: str
    """Name for people."""
    engine: str
    """C identifier that prefixes the engine's functions."""
    sample_rate_hz: int
    hop_samples: int
    latency_samples: int
    controls: tuple[Control, ...]
    created: str = ""
    """When it was made, ISO 8601, or empty (the same inputs then give the same bytes)."""
    pochette_version: str = "0"
    pitch_range_hz: tuple[float, float] | None = None
    """Lowest and highest note it was made for; None if it has no pitch."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The model's recipe, as JSON."""
    board: str = ""
    """The machine it was made for, or empty."""
    precision: Precision = "float32"
    """In which the engine's large matrices are stored."""
    lead_samples: int = 0
    """Silence that every sound begins with, which players make at once."""
    sound_frames: int | None = None
    """Of a sound that ends of itself, after that silence."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Corpus fingerprint, seconds, seed, training steps, reductions, metrics..."""
    members: dict[str, tuple[str, int]] = field(default_factory=dict)
    """SHA-256 and size in bytes of every other member."""


def to_text(manifest: Manifest) -> bytes:
    """Give the manifest as JSON bytes, always the same for the same manifest.

    Args:
        manifest: what to write.

    Returns:
        UTF-8 JSON that `parse` accepts.

    Raises:
        InstrumentError: a field is out of its range.
    """
    data = {
        "schema_version": SCHEMA_VERSION,
        "name": manifest.name,
        "title": manifest.title,
        "created": manifest.created,
        "pochette_version": manifest.pochette_version,
        "engine": manifest.engine,
        "sample_rate_hz": manifest.sample_rate_hz,
        "hop_samples": manifest.hop_samples,
        "latency_samples": manifest.latency_samples,
        "lead_samples": manifest.lead_samples,
        "controls": [dict(vars(control)) for control in manifest.controls],
        "pitch_range_hz": list(manifest.pitch_range_hz) if manifest.pitch_range_hz else None,
        "recipe": manifest.recipe,
        "board": manifest.board,
        "precision": manifest.precision,
        "sound_frames": manifest.sound_frames,
        "provenance": manifest.provenance,
        "members": {name: {"sha256": sha, "bytes": size} for name, (sha, size) in manifest.members.items()},
    }
    try:
        text = (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise _wrong("recipe or provenance", f"JSON of finite numbers ({error})", manifest.name) from error
    parse(text, manifest.name)
    return text


def parse(text: bytes, where: str) -> Manifest:
    """Read the manifest in a file, every field checked.

    Args:
        text: contents of manifest.json.
        where: path of the instrument, for errors.

    Returns:
        the manifest.

    Raises:
        InstrumentError: a later schema version (named, with the version of pochette that wrote it), or any field of
            the wrong type or out of its range.
    """
    data = load_json(text, "manifest.json", where)
    if not isinstance(data, dict):
        raise _wrong("manifest.json", "an object", where)
    _check_schema(data, where)
    get = _Getter(data, where)
    rate = get.integer("sample_rate_hz", 1000, 768000)
    manifest = Manifest(
        name=get.text("name", 64, _NAME),
        title=get.text("title", 200),
        created=get.text("created", 64),
        pochette_version=get.text("pochette_version", 32, _VERSION),
        engine=get.text("engine", 64, _IDENTIFIER),
        sample_rate_hz=rate,
        hop_samples=get.integer("hop_samples", 1, 1 << 16),
        latency_samples=get.integer("latency_samples", 0, 10 * rate),
        controls=_controls(get.list("controls", MOST_CONTROLS), where),
        pitch_range_hz=_pitch_range(data.get("pitch_range_hz"), where),
        recipe=get.object("recipe"),
        board=get.text("board", 64),
        precision=_precision(data, where),
        lead_samples=_lead(get, rate) if "lead_samples" in data else 0,
        sound_frames=None if data.get("sound_frames") is None else get.integer("sound_frames", 1, 1 << 20),
        provenance=get.object("provenance"),
        members=_members(get.object("members"), where),
    )
    return manifest


def load_json(text: bytes, what: str, where: str) -> Any:
    """JSON from a stranger: bounded in size and depth, finite, without repeated names.

    Args:
        text: UTF-8 bytes.
        what: the member's name, for errors.
        where: path of the instrument, for errors.

    Returns:
        plain data.

    Raises:
        InstrumentError: it is not such JSON.
    """
    if len(text) > MANIFEST_LIMIT_BYTES:
        raise _wrong(what, f"at most {MANIFEST_LIMIT_BYTES} bytes long", where)
    try:
        data = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise _wrong(what, "JSON of finite numbers", where) from error
    if not _shallow(data, DEPTH_LIMIT):
        raise _wrong(what, f"nested at most {DEPTH_LIMIT} deep", where)
    return data


class _Getter:
    """Fields of the manifest by type and range; every refusal names the field."""

    def __init__(self, data: dict[str, Any], where: str) -> None:
        self.data, self.where = data, where

    def text(self, name: str, at_most: int, pattern: re.Pattern[str] | None = None) -> str:
        value = self.data.get(name)
        if not isinstance(value, str) or len(value) > at_most or not (value.isprintable() or not value):
            raise _wrong(name, f"printable text of at most {at_most} characters", self.where)
        if pattern and not pattern.fullmatch(value):
            raise _wrong(name, f"text of the form {pattern.pattern}", self.where)
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        value = self.data.get(name)
        if type(value) is not int or not low <= value <= high:
            raise _wrong(name, f"an integer from {low} to {high}", self.where)
        return value

    def number(self, name: str) -> float:
        value = self.data.get(name)
        if type(value) not in (int, float) or abs(value) > 1e12:  # type: ignore[arg-type]
            raise _wrong(name, "a number within 1e12", self.where)
        return float(value)  # type: ignore[arg-type]

    def object(self, name: str) -> dict[str, Any]:
        value = self.data.get(name)
        if not isinstance(value, dict):
            raise _wrong(name, "an object", self.where)
        return value

    def list(self, name: str, at_most: int) -> list[Any]:
        value = self.data.get(name)
        if not isinstance(value, list) or len(value) > at_most:
            raise _wrong(name, f"a list of at most {at_most} entries", self.where)
        return value


def _controls(entries: list[Any], where: str) -> tuple[Control, ...]:
    found: list[Control] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise _wrong("controls", "a list of objects", where)
        get = _Getter(entry, where)
        curve = get.text("curve", 16)
        if curve not in ("linear", "logarithmic"):
            raise _wrong("controls", "of linear or logarithmic curves", where)
        try:
            control = Control(
                name=get.text("name", 64, _IDENTIFIER),
                unit=get.text("unit", 32),
                low=get.number("low"),
                high=get.number("high"),
                default=get.number("default"),
                curve="linear" if curve == "linear" else "logarithmic",
                help=get.text("help", 500),
            )
        except ValueError as error:
            raise _wrong("controls", f"of valid ranges ({error})", where) from error
        found.append(control)
    if len({control.name for control in found}) != len(found):
        raise _wrong("controls", "each of a name of its own", where)
    return tuple(found)


def _lead(get: _Getter, rate: int) -> int:
    lead = get.integer("lead_samples", 0, 10 * rate)
    if lead % get.integer("hop_samples", 1, 1 << 16):
        raise _wrong("lead_samples", "a multiple of hop_samples", get.where)
    return lead


def _precision(data: dict[str, Any], where: str) -> Precision:
    """Files from before engines had fewer bits do not speak of it."""
    value, known = data.get("precision", "float32"), get_args(Precision)
    if value not in known:
        raise _wrong("precision", f"one of {', '.join(known)}", where)
    found: Precision = value
    return found


def _pitch_range(value: Any, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)):
        raise _wrong("pitch_range_hz", "two numbers or null", where)
    low, high = float(value[0]), float(value[1])
    if not (math.isfinite(high) and 1 <= low <= high <= 100_000):
        raise _wrong("pitch_range_hz", "two rising frequencies from 1 to 100000 Hz", where)
    return low, high


def _members(entries: dict[str, Any], where: str) -> dict[str, tuple[str, int]]:
    found = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise _wrong("members", "a list of sizes and checksums", where)
        get = _Getter(entry, where)
        found[name] = (get.text("sha256", 64, _DIGEST), get.integer("bytes", 0, 1 << 40))
    return found


def _check_schema(data: dict[str, Any], where: str) -> None:
    version = data.get("schema_version")
    if type(version) is not int or version < 1:
        raise _wrong("schema_version", "a positive integer", where)
    if version > SCHEMA_VERSION:
        writer = str(data.get("pochette_version", ""))
        writer = writer if _VERSION.fullmatch(writer) else "a later version"
        if writer != "a later version" and _numbers(writer) <= _numbers(pochette.__version__):
            raise InstrumentError(
                f"This instrument file has schema version {version}, which is later than pochette "
                f"{pochette.__version__} reads ({SCHEMA_VERSION}).",
                where=where,
                remedy="Update pochette, or ask who made the file to export it again.",
            )
        raise InstrumentError(
            f"This instrument file has schema version {version}; this pochette reads up to {SCHEMA_VERSION}. "
            f"It was written by pochette {writer}, which can read it.",
            where=where,
            remedy=f"Update with: pip install --upgrade 'pochette>={writer}'"
            if writer != "a later version"
            else "Update with: pip install --upgrade pochette",
        )


def _numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, for comparison."""
    return tuple(map(int, re.findall(r"[0-9]+", re.split(r"[+-]", version)[0])[:3]))


def _shallow(data: Any, depth: int) -> bool:
    if depth == 0:
        return False
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return all(_shallow(child, depth - 1) for child in children)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _wrong(field_name: str, should_be: str, where: str) -> InstrumentError:
    return InstrumentError(
        f"The instrument's manifest is wrong: {field_name} should be {should_be}.",
        where=where,
        remedy="Fetch or build the file again.",
    )
