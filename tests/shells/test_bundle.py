from pathlib import Path

import pytest

from pochette.errors import InstrumentError
from pochette.shells import bundle
from pochette.shells.bundle import write_file, write_folder


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "deep" / "x", {"a.c": "one", "sub/b.bin": b"\0"})
    assert (folder / "sub" / "b.bin").read_bytes() == b"\0"
    write_folder(folder, {"c.c": "two"})
    assert {p.name for p in folder.iterdir()} == {"c.c", bundle.MARKER}
    assert [p.name for p in folder.parent.iterdir()] == ["x"]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "x"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InstrumentError, match="left alone"):
        write_folder(mine, {"a": ""})
    assert (mine / "thesis.tex").read_text() == "years of work"


def test_a_failure_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "x", {"a.c": "one"})
    real = bundle.os.replace

    def fails_for_the_fresh(source: Path, target: Path) -> None:
        if Path(target) == folder and not str(source).endswith(".old"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(bundle.os, "replace", fails_for_the_fresh)
    with pytest.raises(InstrumentError, match="No space left"):
        write_folder(folder, {"a.c": "two"})
    assert (folder / "a.c").read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(InstrumentError):
        write_file(tmp_path / "x" / "page.html", b"")
    with pytest.raises(InstrumentError):
        write_folder(tmp_path / "x" / "y", {})
