"""Whatever goes wrong: what, where and remedy, an exit code that is not 0, no traceback, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mido
import numpy as np
import pytest

from pochette.cli import explained, main
from pochette.cli.console import clean, number, plain, span
from pochette.errors import PochetteError, ToolError
from pochette.instrument.wav import write_wav
from tests.cli.conftest import TINY, Said, Verbs, refused, started, tone

# -- folders of sounds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [("listen",), ("make",), ("train", "ddsp")])
def test_no_sounds(verbs: Verbs, tmp_path: Path, verb: tuple[str, ...]) -> None:
    pytest.importorskip("torch")
    out = () if verb == ("listen",) else ("--out", tmp_path / "out")
    assert refused(verbs(*verb, tmp_path / "nowhere", *out))
    (tmp_path / "empty").mkdir()
    assert refused(verbs(*verb, tmp_path / "empty", *out), "wav")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("no sound")
    assert refused(verbs(*verb, tmp_path / "letters", *out), "wav")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["corrupt", "truncated", "silent"])
def test_nothing_usable(verbs: Verbs, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "bad"
    folder.mkdir()
    write_wav(folder / "a.wav", np.zeros(16000, np.float32), 16000)
    if kind != "silent":
        (folder / "a.wav").write_bytes(b"RIFF\x00" + b"garbage" * 50 if kind == "corrupt" else b"RIFF\x10\x00")
    said = verbs("listen", folder)
    assert said.code == 1 and "a.wav" in said.out and "None of the 1 sounds can be used" in said.out
    assert refused(verbs("train", "ddsp", folder, *TINY, "--out", tmp_path / "run"))


def test_a_mixed_folder_trains_and_says_what_was_left_out(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("torch")
    folder = tmp_path / "Klänge 音 \x1b[31m[red]"
    folder.mkdir()
    for path in sounds.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    soundfile.write(folder / "eight.wav", tone(220, rate=8000), 8000)
    soundfile.write(folder / "high.wav", tone(230, rate=192000), 192000)
    soundfile.write(folder / "stereo.wav", np.stack([tone(240)] * 2, 1), 16000)
    soundfile.write(folder / "surround.wav", np.stack([tone(250)] * 6, 1), 16000)
    soundfile.write(folder / ("long" * 55 + ".wav"), tone(260), 16000)
    soundfile.write(folder / "short.wav", tone(270, 0.05), 16000)
    soundfile.write(folder / "clipped.wav", np.clip(20 * tone(280), -1, 1), 16000)
    holes = tone(290)
    holes[100:200] = np.nan
    soundfile.write(folder / "holes.wav", holes, 16000, subtype="FLOAT")
    (folder / "broken.flac").write_bytes(b"fLaC" + b"\x00" * 30)
    heard = verbs("listen", folder, "--no-estimate")
    assert heard.code == 0 and "\x1b" not in heard.all
    for word in ("broken.flac", "clipped.wav", "short.wav", "eight.wav", "[red]"):
        assert word in heard.out.replace("\n", ""), word
    said = verbs("train", "ddsp", folder, *TINY, "--out", tmp_path / "run")
    assert said.code == 0 and "left out: broken.flac" in said.err and "\x1b" not in said.all


# -- places to write ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["train", "make", "demo", "export", "render"])
def test_an_unwritable_folder(
    verbs: Verbs, request: pytest.FixtureRequest, song: Path, tmp_path: Path, verb: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "file").write_text("")
    # Root may write wherever there is a folder; below a file there is none for anybody.
    out = tmp_path / "file" / "out"
    if verb == "train":
        said = verbs("train", "ddsp", request.getfixturevalue("sounds"), *TINY, "--out", out)
    elif verb == "make":
        said = verbs("make", request.getfixturevalue("sounds"), "--steps", "2", "--out", out)
    elif verb == "demo":
        said = verbs("demo", "--steps", "2", "--out", out)
    elif verb == "export":
        said = verbs("export", request.getfixturevalue("run"), "--out", out)
    else:
        said = verbs("render", request.getfixturevalue("toy"), "--midi", song, "--out", out / "x.wav")
    assert refused(said, "--out" if verb != "render" else "hoose")
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_under_the_answer() -> None:
    with open("/dev/full", "w") as full:
        process = started("list", "boards", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "The disk is full" in err and "Traceback" not in err


def test_what_is_explained() -> None:
    full = explained(OSError(errno.ENOSPC, "No space left on device", "x.wav"))
    assert full is not None and "full" in full.what and full.where == "x.wav"
    memory = explained(MemoryError())
    assert memory is not None and "--size tiny" in memory.remedy
    torch = explained(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert isinstance(torch, ToolError) and "pip install 'pochette[train]'" in torch.remedy
    assert explained(ModuleNotFoundError("No module named 'ours'", name="ours")) is None
    assert explained(ZeroDivisionError()) is None


# -- instruments and songs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "cut short", "bit flipped", "later version"])
@pytest.mark.parametrize("verb", ["verify", "render", "play", "export"])
def test_damaged_instruments(verbs: Verbs, toy: Path, song: Path, tmp_path: Path, damage: str, verb: str) -> None:
    path, data = tmp_path / "bad.pochette", bytearray(toy.read_bytes())
    if damage == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "bit flipped":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif damage == "later version":
        from pochette.instrument.archive import pack, unpack

        members = unpack(bytes(data), "toy")
        manifest = json.loads(members["manifest.json"]) | {"schema_version": 99}
        path.write_bytes(pack(members | {"manifest.json": json.dumps(manifest).encode()}))
    more = ("--midi", song, "--out", tmp_path / "x.wav") if verb == "render" else ()
    assert refused(verbs(verb, path, *more))
    assert not (tmp_path / "x.wav").exists()


def test_a_song_without_notes(verbs: Verbs, toy: Path, tmp_path: Path) -> None:
    mido.MidiFile().save(tmp_path / "empty.mid")
    (tmp_path / "no.mid").write_text("this is no MIDI")
    for name in ("empty.mid", "no.mid", "missing.mid"):
        assert refused(verbs("render", toy, "--midi", tmp_path / name, "--out", tmp_path / "x.wav"))
    assert not (tmp_path / "x.wav").exists()


# -- interruptions and defects -----------------------------------------------------------------------------------------


def test_a_defect_is_apologised_for(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("inner works")

    monkeypatch.setattr("pochette.doctor.doctor", broken)
    said = verbs("doctor")
    assert said.code == 70 and "sorry: " in said.err and "inner works" in said.err
    where = next(line for line in said.err.splitlines() if line.startswith("  where: ")).removeprefix("  where: ")
    assert "Traceback" in Path(where).read_text()
    error = json.loads(verbs("doctor", "--json").out)["error"]
    assert error["kind"] == "Defect"


def test_an_interruption_tells_how_to_go_on(verbs: Verbs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pochette.cli.making._make", stopped)
    said = verbs("make", tmp_path, "--minutes", "3")
    assert said.code == 130 and "is kept" in said.err and f"pochette make {tmp_path} --minutes 3" in said.err


def test_an_interruption_in_a_finaliser_is_not_lost(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python can raise nothing it prints the exception and goes on; an emulator is closed in such a place."""

    class Closed:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    ended = []

    def work() -> None:
        Closed()
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            time.sleep(0.01)
        ended.append("as if nobody had asked")

    monkeypatch.setattr("pochette.doctor.doctor", work)
    said = verbs("doctor")
    assert said.code == 130 and "stopped: " in said.err and "Exception ignored" not in said.err and not ended


def test_a_reader_that_goes_away() -> None:
    process = started("list", "boards")
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.wait(60) != 0
    assert process.stderr.read() == ""
    process.stderr.close()


def _wait_for(path: Path, process: subprocess.Popen[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.1)


ENDLESS = ("--size", "tiny", "--minutes", "10", "--evaluate-steps", "1", "--batch", "1", "--excerpt-seconds", "0.1")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are different there")
@pytest.mark.parametrize("how", ["Ctrl-C", "kill", "kill -9"])
def test_training_survives(verbs: Verbs, sounds: Path, tmp_path: Path, how: str) -> None:
    pytest.importorskip("torch")
    run = tmp_path / "run"
    patience = ("--patience", "100000")
    process = started("train", "ddsp", sounds, *ENDLESS, *patience, "--out", run)
    if how != "kill -9":
        assert process.stderr
        while not (line := process.stderr.readline()).startswith("dense"):
            assert line, "it ended before it trained"
        process.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, out + err
        assert "is kept" in err and f"pochette train ddsp {sounds}" in err and "Traceback" not in out + err
    else:
        _wait_for(run / "dense.safetensors", process, 90)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    seconds = ("--minutes", "0.001")
    said = verbs("train", "ddsp", sounds, *ENDLESS, *patience, *seconds, "--out", run, "--json")
    assert said.code == 0, said.all
    assert "resuming from the checkpoint at step" in said.err
    assert json.loads(said.out)["resumed"][0].startswith("dense: resumed at step")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are different there")
def test_ctrl_c_while_sounds_are_read(sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    many = tmp_path / "many"
    many.mkdir()
    for number_ in range(24):
        write_wav(many / f"{number_}.wav", tone(200 + 10 * number_, 4.0), 16000)
    process = started("train", "ddsp", many, *TINY, "--out", tmp_path / "run", start_new_session=True)
    assert process.stderr
    first = process.stderr.readline()
    assert first.startswith("listen"), first
    # As a terminal does: to the whole group, workers included.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in out + err, out + err


# -- without torch -----------------------------------------------------------------------------------------------------

# As where they were never installed: the finder of packages does not find them.
LIGHT = """
import sys
from importlib.machinery import PathFinder
gone, find = "torch scipy soundfile soxr safetensors matplotlib jinja2 sklearn".split(), PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in gone else find(name, *rest)
from pochette.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _light(*arguments: object) -> Said:
    words = [sys.executable, "-c", LIGHT, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    return Said(done.returncode, done.stdout, done.stderr)


def test_the_light_player_needs_no_torch(toy: Path, song: Path, tmp_path: Path) -> None:
    for words in (("list", "boards"), ("list", "shells"), ("doctor",), ("--help",), ("train", "--help")):
        said = _light(*words)
        assert said.code == 0, said.all
    assert _light("verify", toy).code == 0
    said = _light("render", toy, "--midi", song, "--out", tmp_path / "light.wav")
    assert said.code == 0 and (tmp_path / "light.wav").stat().st_size > 1000


@pytest.mark.parametrize(
    "words", [("train", "ddsp", "x"), ("make", "x"), ("reduce", "x"), ("profile", "ddsp"), ("list", "models")]
)
def test_what_needs_torch_says_how_to_get_it(words: tuple[str, ...]) -> None:
    said = _light(*words)
    assert refused(said, "pip install 'pochette[train]'")
    assert said.out == ""


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_nothing_in_a_text_is_obeyed() -> None:
    assert clean("a\x1b[2Jb\nc\udc80\u202e") == "a\\x1b[2Jb\\nc\\udc80\\u202e"
    assert clean("Ääß 音 [bold]") == "Ääß 音 [bold]"


def test_numbers_and_times() -> None:
    assert [number(x) for x in (None, float("nan"), True, 12345, 12345.6, 0.12345)] == [
        "-", "-", "yes", "12,345", "12,346", "0.1235",
    ]  # fmt: skip
    assert [span(x) for x in (40, 180, 9000)] == ["40 s", "3 min", "2.5 h"]
    assert plain({"a": float("inf"), "b": (Path("x"), [1])}) == {"a": None, "b": ["x", [1]]}


def test_errors_are_three_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise PochetteError("It broke.\nTwice.", where="[bold]here", remedy="Mend it.")

    monkeypatch.setattr("pochette.doctor.doctor", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert said.err == "error: It broke.\n    Twice.\n  where: [bold]here\n  remedy: Mend it.\n" and said.out == ""


@pytest.mark.parametrize(
    "verb", ["train ddsp SOUNDS", "make SOUNDS", "reduce RUN", "compare SOUNDS", "fit RUN --board pi-4"]
)
@pytest.mark.parametrize(("device", "known"), [("cudda", "cuda"), ("cuda:9999", "cpu")])
def test_a_device_that_is_not_there_is_refused_before_anything_else(
    verb: str, device: str, known: str, verbs: Verbs, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    told = verbs(*(tmp_path / part if part.isupper() else part for part in verb.split()), "--device", device)
    assert refused(told, known, "--device") and not any(tmp_path.iterdir())
