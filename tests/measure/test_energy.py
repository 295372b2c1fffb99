"""Energy: counters that wrap, several packages, meters' files and estimates, each against a closed form."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pochette.errors import MeasureError
from pochette.families import boards
from pochette.lab import energy as lab
from pochette.measure.energy import Energy, estimated, measured, of_meter, packages
from tests.toy import toy_source

RANGE = 262_143_328_850


class Rig:
    """A processor whose packages take so many watts, and a clock that passes only when it is told to."""

    def __init__(self, folder: Path, watts: dict[str, float], start: dict[str, int]) -> None:
        self.folder, self.watts, self.now = folder, watts, 0.0
        self.exact = {name: float(start.get(name, 0)) for name in watts}
        for name in watts:
            (folder / name).mkdir(parents=True)
            (folder / name / "max_energy_range_uj").write_text(f"{RANGE}\n")
        self.write()

    def write(self) -> None:
        for name, count in self.exact.items():
            (self.folder / name / "energy_uj").write_text(f"{int(count) % RANGE}\n")

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for name, watts in self.watts.items():
            self.exact[name] += watts * seconds * 1e6
        self.write()


def rig(folder: Path, watts: dict[str, float], start: dict[str, int] | None = None) -> Rig:
    made = Rig(folder, watts, start or {})
    for each in watts:
        inside = each.count(":") > 1
        label = "core" if inside else "psys" if each.endswith(":9") else f"package-{each[-1]}"
        (folder / each / "name").write_text(f"{label}\n")
    return made


def test_only_whole_packages_count(tmp_path: Path) -> None:
    """A part of a package and the platform around all would count its joules twice."""
    rig(tmp_path, {"intel-rapl:0": 9, "intel-rapl:0:0": 5, "intel-rapl:1": 7, "intel-rapl:9": 30})
    assert [package.folder.name for package in packages(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:1" / "energy_uj").mkdir()  # as good as not allowed to be read
    assert [package.folder.name for package in packages(tmp_path)] == ["intel-rapl:0"]
    assert packages(tmp_path / "nowhere") == ()


def test_energy_is_power_times_time_over_all_packages(tmp_path: Path) -> None:
    machine = rig(tmp_path, {"intel-rapl:0": 9.0, "intel-rapl:1": 7.0})

    def play() -> float:
        machine.watts = {"intel-rapl:0": 20.0, "intel-rapl:1": 8.0}
        machine.wait(2.0)
        return 40.0  # seconds of audio, made twenty times as fast as they last

    found = measured(play, packages(tmp_path), clock=lambda: machine.now, wait=machine.wait)
    assert found.joules_high == pytest.approx((20 + 8) * 2 / 40)
    assert found.joules_low == pytest.approx((20 + 8 - 9 - 7) * 2 / 40)
    assert found.obtained.startswith("measured") and "2 packages" in found.obtained and not found.estimated


def test_a_counter_that_begins_again_is_followed(tmp_path: Path) -> None:
    near = {"intel-rapl:0": RANGE - 5_000_000}  # five joules before its end
    machine = rig(tmp_path, {"intel-rapl:0": 3.0}, near)

    def play() -> float:
        machine.watts = {"intel-rapl:0": 10.0}
        machine.wait(1.0)
        return 1.0

    (package,) = packages(tmp_path)
    found = measured(play, (package,), clock=lambda: machine.now, wait=machine.wait)
    assert package.read() == 8_000_000
    assert found.joules_high == pytest.approx(10.0) and found.joules_low == pytest.approx(7.0)


def test_what_is_less_than_idle_is_nothing(tmp_path: Path) -> None:
    machine = rig(tmp_path, {"intel-rapl:0": 9.0})

    def play() -> float:
        machine.watts = {"intel-rapl:0": 8.0}
        machine.wait(1.0)
        return 1.0

    found = measured(play, packages(tmp_path), clock=lambda: machine.now, wait=machine.wait)
    assert found.joules_low == 0 and found.joules_high == pytest.approx(8.0)


def test_a_meter_is_integrated_however_it_samples(tmp_path: Path) -> None:
    file = tmp_path / "meter.csv"
    # 2 W rising to 6 W in 3 s, then 6 W for 1 s: (12 + 6) J in 4 s.
    times = np.concatenate([np.sort(np.random.default_rng(0).uniform(0, 3, 40)), [3.0, 4.0]])
    times[0] = 0.0
    rows = "\n".join(f"{t!r},{2 + 4 * min(t, 3.0) / 3!r}" for t in times.tolist())
    file.write_text(f"seconds,watts\n{rows}\n\n")
    found = of_meter(file)
    assert found.joules_low == found.joules_high == pytest.approx(18 / 4)
    assert "42 samples over 4 s" in found.obtained and not found.estimated
    assert str(found) == "4.5e+03 mJ"


@pytest.mark.parametrize(
    "headings", ["seconds,watts", "time (s),power (W)", "Time_s,P [W]", "s, w", "a meter\n\nt/s,P/W"]
)
def test_headings_that_say_seconds_and_watts_are_believed(headings: str, tmp_path: Path) -> None:
    file = tmp_path / "meter.csv"
    file.write_text(f"{headings}\n0,2\n10,2\n")
    assert of_meter(file).joules_low == pytest.approx(2.0)


@pytest.mark.parametrize(
    "headings",
    ["", "V,A\n", "time (ms),power (W)\n", "time (s),power (mW)\n", "watts,seconds\n", "time,power\n", "s\n"],
)
def test_columns_of_anything_else_are_refused_by_what_they_say(headings: str, tmp_path: Path) -> None:
    file = tmp_path / "meter.csv"
    file.write_text(f"{headings}0,2\n10,2\n")
    with pytest.raises(MeasureError, match="not told to be seconds and watts") as caught:
        of_meter(file)
    said = headings.strip().split(",") if headings else ["it has no headings"]
    assert all(part in caught.value.what for part in said) and '"seconds,watts"' in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "s,W\n",
        "s,W\n0,1",
        *(
            f"s,W\n{rows}"
            for rows in (
                "0,1\n1,nan\n",
                "0,1\n0,1\n",
                "1,1\n0,1\n",
                "0,1\n1,-2\n",
                "0,1\n1,two\n",
                "0\n1\n",
            )
        ),
    ],
)
def test_a_file_that_says_nothing_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "meter.csv"
    file.write_text(text)
    with pytest.raises(MeasureError, match=r"power meter") as caught:
        of_meter(file)
    assert "two columns" in caught.value.remedy and str(file) in str(caught.value)
    with pytest.raises(MeasureError, match="cannot be read"):
        of_meter(tmp_path / "none.csv")


def test_an_estimate_is_instructions_times_picojoules_and_says_so() -> None:
    daisy = boards["daisy-seed"]
    assert daisy.instruction_picojoules is not None
    low, high = daisy.instruction_picojoules
    found = estimated(daisy, 80e6)
    assert found is not None and found.estimated and "recalled" in found.obtained
    assert found.joules_low == pytest.approx(80e6 * low * 1e-12)
    assert found.joules_high == pytest.approx(80e6 * high * 1e-12)
    assert found.to_json()["estimated"] is True
    assert estimated(daisy, None) is None and estimated(boards["browser"], 1e6) is None


def test_every_price_has_a_source_and_agrees_with_the_board(tmp_path: Path) -> None:
    for name, board in boards.items():
        if board.instruction_picojoules is None:
            continue
        assert any(source.startswith("picojoules") and "recalled" in source for source in board.sources), name
        low, high = board.instruction_picojoules
        assert 1.5 < high / low < 6, "a band, and not so wide that it says nothing"
        if board.power_w is not None and board.clock_hz is not None and "no operating system" in board.os:
            # A whole microcontroller board at an instruction a cycle: at least about as much as the least estimate.
            assert board.power_w / board.clock_hz > 0.5 * low * 1e-12, name


def test_what_is_at_hand_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, knobs = tmp_path / "meter.csv", np.array([[440.0, -20.0]], np.float32)
    file.write_text("seconds,watts\n0,1\n2,1\n")
    host, daisy = boards["host"], boards["daisy-seed"]
    by_meter = lab.energy_of(toy_source(), daisy, knobs, 1e6, file)
    assert by_meter is not None and by_meter.joules_low == pytest.approx(1.0)
    counted = lab.energy_of(toy_source(), daisy, knobs, 1e6)
    assert counted is not None and counted.estimated
    # This machine is measured or nothing is said of it; a nominal power is nobody's measurement.
    monkeypatch.setattr(lab, "packages", lambda: ())
    assert lab.energy_of(toy_source(), host, knobs, None) is None
    machine = rig(tmp_path / "rapl", {"intel-rapl:0": 5.0})
    heard: list[float] = []

    def faked(work: object, counters: object) -> Energy:
        heard.append(work())  # type: ignore[operator]
        machine.wait(1.0)
        return Energy(1.0, 2.0, "measured")

    monkeypatch.setattr(lab, "packages", lambda: packages(tmp_path / "rapl"))
    monkeypatch.setattr(lab, "measured", faked)
    monkeypatch.setattr(lab, "PLAYED_SECONDS", 0.05)
    assert lab.energy_of(toy_source(), host, knobs, None) == Energy(1.0, 2.0, "measured")
    assert len(heard) == 1 and math.isfinite(heard[0]) and heard[0] >= 0.1
