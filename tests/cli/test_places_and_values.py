"""Values out of range, folders where files are wanted, names with odd letters: said so that it helps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import pochette
from pochette.cli.verb import command
from pochette.instrument import load
from pochette.instrument.archive import pack, unpack
from tests.cli.conftest import Verbs


@pytest.mark.parametrize(
    "option",
    [("--voices", 0), ("--voices", 65), ("--tail-seconds", -1), ("--tail-seconds", "nan"), ("--tail-seconds", 601)],
)
def test_options_of_render_have_ranges(
    verbs: Verbs, toy: Path, song: Path, tmp_path: Path, option: tuple[str, object]
) -> None:
    said = verbs("render", toy, "--midi", song, "--out", tmp_path / "x.wav", *option)
    assert said.code == 2 and option[0] in said.err and " to " in said.err and not list(tmp_path.iterdir())


def test_options_of_play_have_ranges(verbs: Verbs, toy: Path) -> None:
    for option in (("--voices", 0), ("--voices", 1000), ("--seconds", "nan"), ("--block-samples", 0)):
        said = verbs("play", toy, *option)
        assert said.code == 2 and option[0] in said.err


def test_options_of_listen_and_profile_have_ranges(verbs: Verbs, sounds: Path) -> None:
    pytest.importorskip("torch")
    said = verbs("listen", sounds, "--excerpt-seconds", "-1")
    assert said.code == 2 and "--excerpt-seconds" in said.err
    for rate in (0, -5, 10**12):
        said = verbs("profile", "ddsp", "--sample-rate-hz", rate)
        assert said.code == 2 and "--sample-rate-hz" in said.err


NO_BUDGETS = [("--steps", 0), ("--steps", -3), ("--minutes", 0), ("--minutes", -1), ("--minutes", "nan")]


@pytest.mark.parametrize("budget", NO_BUDGETS, ids=str)
@pytest.mark.parametrize("verb", ["train", "reduce", "fit", "make", "demo", "compare"])
def test_no_budget_trains_nothing(
    verbs: Verbs, sounds: Path, run: Path, tmp_path: Path, verb: str, budget: tuple[str, object]
) -> None:
    """Refused before a sound is listened to, and nothing is left behind."""
    out, before = tmp_path / "out", sorted(run.iterdir())
    given: dict[str, tuple[object, ...]] = {
        "train": ("ddsp", sounds, "--size", "tiny", "--out", out),
        "reduce": (run, "--rounds", 2),
        "fit": (run, "--board", "pi-4"),
        "make": (sounds, "--size", "tiny", "--out", out),
        "demo": ("--size", "tiny", "--out", out),
        "compare": (sounds, "--size", "tiny", "--out", out),
    }
    options = [budget]
    if verb == "compare":  # it knows steps alone, of two kinds
        options = [budget, (budget[0].replace("--steps", "--stop-steps"), budget[1])] if budget[0] == "--steps" else []
    for option in options:
        said = verbs(verb, *given[verb], *option)
        assert said.code in (1, 2) and option[0] in said.err and "remedy" in said.err
    assert not (out / "training").exists() and not list(out.glob("*.safetensors"))
    assert sorted(run.iterdir()) == before


def test_a_model_that_cannot_be_built_is_no_defect(
    verbs: Verbs, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from pochette.models.ddsp import Ddsp

    def broken(_: object) -> None:
        raise RuntimeError("Trying to create tensor with negative dimension -3: [-3, 2]")

    monkeypatch.setattr(Ddsp, "build", broken)
    said = verbs("train", "ddsp", sounds, "--hidden", 7, "--out", tmp_path / "run")
    assert said.code == 1 and "'ddsp' cannot be built with --hidden 7" in said.err and "negative dimension" in said.err
    said = verbs("profile", "ddsp")
    assert said.code == 1 and "cannot be built" in said.err


def test_folders_where_files_are_wanted(verbs: Verbs, toy: Path, song: Path, tmp_path: Path) -> None:
    said = verbs("verify", toy.parent)
    assert said.code == 1 and "is a folder, not a file" in said.err and str(toy) in said.err
    said = verbs("render", toy, "--midi", tmp_path, "--out", tmp_path / "x.wav")
    assert said.code == 1 and "is a folder, not a MIDI file" in said.err
    (tmp_path / "junk.mid").write_bytes(b"MThd")
    said = verbs("render", toy, "--midi", tmp_path / "junk.mid", "--out", tmp_path / "x.wav")
    assert said.code == 1 and "read: ." not in said.err


def test_what_is_no_run(verbs: Verbs, toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for verb in ("profile", "reduce", "export"):
        said = verbs(verb, tmp_path)
        assert said.code == 1 and "not that of a training run" in said.err
    assert "is a file, not" in verbs("reduce", toy).err
    assert "no such folder" in verbs("reduce", tmp_path / "none").err
    said = verbs("profile", "nowhere")
    assert said.code == 1 and "neither a file, nor a folder of a run, nor the name of a model" in said.err


def test_a_file_in_the_way_is_named(verbs: Verbs, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        said = verbs("make", sounds, "--out", out)
        assert said.code == 1 and "file' is a file; choose another folder with --out" in said.err


def test_a_later_schema_of_no_later_version(verbs: Verbs, toy: Path, tmp_path: Path) -> None:
    members = unpack(toy.read_bytes(), "toy")
    manifest = json.loads(members["manifest.json"]) | {"schema_version": 99}
    (tmp_path / "x.pochette").write_bytes(pack(members | {"manifest.json": json.dumps(manifest).encode()}))
    said = verbs("verify", tmp_path / "x.pochette")
    assert said.code == 1 and "export it again" in said.err and "can read it" not in said.err


@pytest.mark.parametrize("name", ["a b", "it's", "new\nline", "\x1b[31mred'\\", "Klänge 音", "-x", "bad\udcff"])
def test_commands_can_be_pasted(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    typed = command("verify", Path(name))
    assert typed.isprintable()
    script = typed.replace("pochette verify", "printf %s", 1)
    said = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert said.decode("utf-8", "surrogateescape").removeprefix("./") == name


def test_titles_are_one_printable_line(toy: Path) -> None:
    import dataclasses

    assert dataclasses.replace(load(toy), title=" My\nold \x1b[31m \t fiddle\udcff ").title == "My old [31m fiddle"


def test_what_comes_next_can_be_done_here(
    verbs: Verbs, toy: Path, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("render", toy, "--midi", song, "--out", tmp_path / "x.wav")
    monkeypatch.setattr("pochette.doctor.can_play", lambda: False)
    assert "next: pochette verify" in verbs(*arguments).out
    monkeypatch.setattr("pochette.doctor.can_play", lambda: True)
    assert "next: pochette play" in verbs(*arguments).out
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "next: pip install 'pochette[train,compile]'" in verbs("doctor").out


def test_engines_that_cannot_run_are_said_so(verbs: Verbs, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pochette.cli.playing.built_here", lambda _: False)
    said = verbs("verify", toy, "--engines", "c")
    out = " ".join(said.out.split())
    assert said.code == 1 and "None of the engines asked for could run here" in out and "--trust" in out
    assert "next: pochette doctor" in out


def test_the_version(verbs: Verbs) -> None:
    assert verbs("--version").out == f"pochette {pochette.__version__}\n"
    assert json.loads(verbs("--version", "--json").out)["version"] == pochette.__version__


def test_help_of_a_model_shows_the_whole_line(verbs: Verbs) -> None:
    pytest.importorskip("torch")
    said = verbs("train", "ddsp", "--help")
    assert said.code == 0 and "MODEL SOUNDS" in said.out and "--hidden" in said.out
