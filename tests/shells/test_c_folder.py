"""What the README of a folder of C says is what a stranger has to do, and enough."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from pochette.engine.build import WARNINGS, host_compiler
from pochette.shells.c_folder import write
from tests.instrument.bench import toy_instrument


def test_the_files_that_the_readme_names_are_all_that_a_program_needs(tmp_path: Path) -> None:
    folder = write(toy_instrument(), tmp_path)
    text = (folder / "README.md").read_text()
    named = re.search(r"In a program of your own compile\n(.*) with it", text)
    assert named is not None
    files = re.findall(r"`(\w+\.c)`", named[1])
    assert files == ["toy.c"] and "Call `toy_reset` once before" in text
    for name in folder.glob("*.c"):
        if name.name not in (*files, "main.c"):
            name.unlink()
    subprocess.run([*host_compiler(), *WARNINGS, "main.c", *files, "-o", "program", "-lm"], cwd=folder, check=True)
    subprocess.run(["./program"], cwd=folder, check=True)


def test_how_a_sound_that_begins_with_silence_is_heard_at_once_is_said(tmp_path: Path) -> None:
    toy = toy_instrument()
    assert "LEAD_SAMPLES" not in (write(toy, tmp_path / "plain") / "README.md").read_text()
    late = replace(toy, source=replace(toy.source, lead_samples=96))
    assert "begins with 96 samples of silence" in (write(late, tmp_path / "late") / "README.md").read_text()
