import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pochette.errors import InstrumentError, RunError
from pochette.lab.report import Clip, page, view, words, write_report
from pochette.lab.report.sounds import takes_of
from pochette.lab.result import Anchor, CorpusFacts, EngineFacts, GoldenCheck, MakeResult, TrimPoint, VerdictFacts
from tests.lab.fakes import clips, full_result, sound
from tests.shells.browser import Browser, chromium

HOSTILE = (
    """</script></style><script>window.evil=1</script><img src=x onerror="window.evil=1">'"&{{ 7*7 }}$\\frac{1}{$"""
)


def bare_result() -> MakeResult:
    """As little as a job can have found out."""
    return replace(
        full_result(),
        anchors=(),
        metrics={},
        trimming=(),
        learning={},
        profile_before={},
        profile_after={},
        engine=EngineFacts(),
        verdict=VerdictFacts(False, ("It needs 2 MB of RAM; Daisy Seed has 512 KB.",), (), ("Keep less.",)),
        golden=(),
        playing=None,
        stages=(),
        board="a board of another installation",
        next_command="",
        versions={},
    )


@pytest.mark.parametrize("result", [full_result(), bare_result()])
def test_json_round_trip(result: MakeResult) -> None:
    text = json.dumps(result.to_json(), allow_nan=False)
    assert MakeResult.from_json(json.loads(text)) == result


def test_numbers_that_are_not_finite_become_absent() -> None:
    result = replace(
        full_result(), anchors=(Anchor("dense", float("nan")),), learning={"a": ((0, float("inf"), None),)}
    )
    back = MakeResult.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    assert back.learning["a"] == ((0, None, None),) and back.distance("dense") is None
    assert "nan" not in page(back, []).lower().split("<main>")[1].split("<script>")[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"schema": None}, "no schema"),
        ({"seed": "x"}, "seed is str"),
        ({"seed": True}, "seed is bool"),
        ({"anchors": [{"name": "dense"}]}, r"anchors\[0\].distance is missing"),
        ({"learning": {"a": [[1, 2.0]]}}, "2 values instead of 3"),
        ({"corpus": []}, "corpus is list"),
    ],
)
def test_damaged_results_are_said(change: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        MakeResult.from_json({**full_result().to_json(), **change})
    with pytest.raises(RunError):
        MakeResult.from_json([])  # type: ignore[arg-type]


def test_derived_figures() -> None:
    result = full_result()
    assert result.gap_closed("mean spectrum") == 0 and result.gap_closed("floor") == 1
    assert result.gap_closed("trimmed") == pytest.approx((6.31 - 3.68) / (6.31 - 3.02))
    assert result.gap_closed("nobody") is None
    assert result.macs_ratio == pytest.approx(0.1) and result.distance_ratio == pytest.approx(3.68 / 3.59)
    assert result.trimmed is not None and result.trimmed.name == "trimmed" and result.passed
    assert bare_result().macs_ratio is None and not bare_result().verified
    inverted = replace(result, anchors=(Anchor("mean spectrum", 1.0), Anchor("dense", 2.0), Anchor("floor", 3.0)))
    assert inverted.gap_closed("dense") is None
    failed = replace(result, golden=(*result.golden, GoldenCheck("x", 0.2, 1.0, (64,), False)))
    assert not failed.verified
    assert replace(result, trimming=result.trimming[:1]).trimmed is None


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (words.number(270_502, 7), "270\u202f502"),
        (words.number(3.1e-6, 2), "3.1 × 10⁻⁶"),
        (words.number(-1.234), "\u22121.23"),
        (words.number(0.0), "0"),
        (words.amount(27.96e6), "28.0 M"),
        (words.amount(999_999), "1.00 M"),
        (words.in_words(6.99e6), "6.99 million"),
        (words.size(512 << 10), "512 KB"),
        (words.percent(0.1), "10.0\u202f%"),
        (words.change(1.021), "+2.1\u202f%"),
        (words.change(0.97), "\u22123.0\u202f%"),
        (words.duration(204.3), "3 min 24 s"),
        (words.duration(7200), "2 h 0 min"),
        (words.number(None), words.ABSENT),
        (words.size(float("nan")), words.ABSENT),
    ],
)
def test_words(made: str, wanted: str) -> None:
    assert made == wanted


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile_result() -> MakeResult:
    result = full_result()
    point = TrimPoint(HOSTILE, 100, 1e6, 3.0, 3.0)
    return replace(
        result,
        name=HOSTILE,
        title=HOSTILE,
        created=HOSTILE,
        board_title=HOSTILE,
        model=HOSTILE,
        size=HOSTILE,
        recipe={HOSTILE: HOSTILE},
        corpus=CorpusFacts(HOSTILE, HOSTILE, 1, 1.0, (HOSTILE, "bad\udcff.wav"), HOSTILE, (HOSTILE,)),
        anchors=(*result.anchors, Anchor(HOSTILE, 3.0, HOSTILE)),
        metrics={HOSTILE: {HOSTILE: 1.0}, **result.metrics},
        trimming=(*result.trimming, point),
        learning={HOSTILE: result.learning["learning"]},
        profile_after={**result.profile_after, "layers": [{"layer": HOSTILE, "parameters": 1, "cost": {"macs": 1}}]},
        engine=replace(result.engine, counted_for=HOSTILE, method=HOSTILE),
        verdict=VerdictFacts(False, (HOSTILE,), (HOSTILE,), (HOSTILE,)),
        golden=(GoldenCheck(HOSTILE, 1.0, 1.0, (1,), False, HOSTILE),),
        next_command=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )


def test_hostile_strings_stay_strings(tmp_path: Path) -> None:
    clip = Clip(HOSTILE, {HOSTILE: sound(220, 1, 0.1)}, 16_000)
    text = write_report(hostile_result(), [clip], tmp_path / "r.html").read_text("utf-8")
    assert "<script>window" not in text and "<img src=x" not in text and "49$" not in text
    found = Elements(text).found
    assert [tag for tag, _ in found].count("script") == 1 and [tag for tag, _ in found].count("style") == 1
    assert not any(name.startswith("on") or name == "style" for _, attributes in found for name in attributes)


def test_nothing_is_fetched() -> None:
    for tag, attributes in Elements(page(full_result(), clips(1))).found:
        for name in ("src", "href", "xlink:href", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#")), (tag, name, value[:80])
        if "http-equiv" in attributes:
            assert "default-src 'none'" in str(attributes["content"]) and "unsafe" not in str(attributes["content"])


def test_absent_values_are_not_zero() -> None:
    text = page(bare_result(), [])
    body = re.sub(r"<svg.*?</svg>", "", text.split("<main>")[1].split("<script>")[0], flags=re.DOTALL)
    visible = re.sub(r"<[^>]+>", " ", body)
    assert visible.count("not measured") > 15 and "It does not fit" in visible
    assert not re.search(r"(?<![\d.,\u202f-])0(\.0+)?(\s|\u202f)*(%|KB|M\b|bytes)", visible)
    assert "<td" in text and "None" not in visible and "Undefined" not in visible


@pytest.mark.parametrize(
    "change",
    [
        {"board": "host", "board_title": "this computer"},
        {"anchors": tuple(a for a in full_result().anchors if a.name != "another take")},
        {"anchors": tuple(replace(a, distance=9.0) if a.name == "trimmed" else a for a in full_result().anchors)},
        {"trimming": full_result().trimming[:1]},
        {"trimming": tuple(replace(p, distance=None) for p in full_result().trimming)},
        {"trimming": tuple(replace(p, distance=3.0) for p in full_result().trimming)},
        {"trimming": tuple(replace(p, network_macs_per_second=0.0) for p in full_result().trimming)},
        {"learning": {"a": (), "b": ((0, 1.0, None),), "c": ((0, None, None),)}},
        {"profile_before": {"macs_per_second": None, "layers": []}},
        {"engine": replace(full_result().engine, instructions_per_second=500e6, ram_bytes=0)},
    ],
)
def test_every_kind_of_result_has_a_page(change: dict[str, object]) -> None:
    assert "</html>" in page(replace(full_result(), **change), [])  # type: ignore[arg-type]


def test_a_verdict_claims_no_more_than_is_known() -> None:
    result = full_result()
    uncounted = replace(result, engine=replace(result.engine, instructions_per_second=None))
    assert "It fits the Daisy Seed" in page(result, [])
    text = page(uncounted, [])
    assert "It fits the Daisy Seed" not in text and "fits the memory of the Daisy Seed" in text
    assert "It does not fit the Daisy Seed" in page(replace(uncounted, verdict=VerdictFacts(False)), [])


def decoded(uri: str) -> tuple[np.ndarray, int]:
    assert uri.startswith("data:audio/flac;base64,")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])), dtype="float32")
    return samples, rate


def test_how_long_a_sound_lasts_is_said() -> None:
    made = full_result()
    assert not any("lasts" in sentence for sentence in view.sentences(made))
    assert "Each of its sounds lasts 0.021 s." in view.sentences(replace(made, sound_seconds=0.0213))


def test_takes_share_gain_length_and_rate() -> None:
    loud, soft = 2 * np.ones(4000, np.float32), np.full(3000, 0.5, np.float32)
    takes = takes_of(Clip("x", {"loud": loud, "soft": soft}, 44_100))
    (first, rate), (second, _) = decoded(takes[0].audio), decoded(takes[1].audio)
    assert rate == 44_100 and len(first) == len(second) == 4000
    assert first[:3000].min() > 0.999 and abs(second[:3000] - 0.25).max() < 1e-4 and not second[3000:].any()


@pytest.mark.parametrize("samples", [0, 1, 50, 300])
def test_short_silent_and_broken_clips(samples: int) -> None:
    takes = takes_of(Clip("x", {"a": np.zeros(samples, np.float32), "b": np.full(samples, np.nan, np.float32)}, 8000))
    assert len(takes) == (2 if samples else 0)
    for take in takes:
        assert not decoded(take.audio)[0].any()
    assert "</html>" in page(full_result(), [Clip("none", {}, 16_000)])


def test_the_page_stays_small() -> None:
    eight = [Clip(str(i), {k: sound(100 + 20 * i, 1.1, seed=i) for k in "abcd"}, 16_000) for i in range(8)]
    assert len(page(full_result(), eight)) < 6e6


def test_the_old_report_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InstrumentError):
        write_report(full_result(), [], tmp_path / "file" / "report.html")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    chromium()
    yield write_report(full_result(), clips(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.mark.system
def test_a_browser_shows_and_plays_it(report: Path) -> None:
    with Browser(report.as_uri()) as browser:
        browser.wait_for("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
        seconds = browser.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
        assert len(seconds) == 12 and seconds == pytest.approx([2.0] * 12, abs=0.01)
        assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 50)")
        browser.evaluate("document.querySelector('.take button').click()")
        browser.wait_for("document.querySelector('audio').currentTime > 0.1")
        browser.key("keyDown", "Digit3", "3")
        browser.wait_for("document.querySelectorAll('.take')[2].matches('.playing')")
        browser.wait_for("document.querySelectorAll('audio')[2].currentTime > 0.1")
        assert browser.evaluate("document.querySelectorAll('.playing').length") == 1
        assert browser.evaluate("document.querySelector('audio').paused")
        browser.key("keyDown", "Escape")
        assert browser.evaluate("document.querySelectorAll('.playing').length") == 0
        assert browser.complaints() == []
        assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []


@pytest.mark.system
@pytest.mark.parametrize("width", [320, 390, 900])
def test_nothing_sticks_out(report: Path, width: int) -> None:
    with Browser(report.as_uri(), size=(width, 800), mobile=width < 500) as browser:
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.system
def test_hostile_strings_do_nothing_in_a_browser(tmp_path: Path) -> None:
    chromium()
    file = write_report(hostile_result(), [Clip(HOSTILE, {HOSTILE: sound(220, 1, 0.1)}, 16_000)], tmp_path / "r.html")
    with Browser(file.as_uri(), size=(360, 800), mobile=True) as browser:
        assert browser.evaluate("window.evil === undefined") and browser.complaints() == []
        assert browser.evaluate("document.title").startswith("</script>")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
