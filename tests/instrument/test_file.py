import dataclasses
import io
import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pochette.control import Control
from pochette.engine.runner import run_frames
from pochette.engine.source import EngineSource
from pochette.errors import InstrumentError
from pochette.instrument import Instrument, load, remember_built_here, save
from pochette.instrument import archive as archive_module
from pochette.instrument.archive import pack, unpack
from tests.instrument.bench import toy_instrument


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCHETTE_STATE", str(tmp_path / "state"))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return save(toy_instrument(), tmp_path / "toy.pochette")


def members(path: Path) -> dict[str, bytes]:
    return unpack(path.read_bytes(), str(path))


def change_manifest(path: Path, **changes: object) -> Path:
    """Rewrite the manifest with other fields; checksums of the other members stay true."""
    found = members(path)
    data = json.loads(found["manifest.json"]) | changes
    path.write_bytes(pack(found | {"manifest.json": json.dumps(data).encode()}))
    return path


def test_round_trip_keeps_everything(toy: Path) -> None:
    made, read = toy_instrument(), load(toy)
    for name in ("name", "title", "recipe", "board", "provenance", "wasm", "source", "report", "pochette_version"):
        assert getattr(made, name) == getattr(read, name), name
    assert read.pitch_range_hz == (20.0, 8000.0)
    assert (read.weights["a.weight"] == made.weights["a.weight"]).all()
    assert read.parameters == 14


def test_how_weights_are_stored_is_kept_and_told(toy: Path, tmp_path: Path) -> None:
    assert load(toy).precision == "float32"
    small = dataclasses.replace(toy_instrument(), source=dataclasses.replace(toy_instrument().source, precision="int8"))
    read = load(save(small, tmp_path / "small.pochette"))
    assert read.precision == read.source.precision == "int8"
    # Files from before there was a choice do not speak of it.
    found = members(toy)
    data = json.loads(found["manifest.json"])
    del data["precision"]
    toy.write_bytes(pack(found | {"manifest.json": json.dumps(data).encode()}))
    assert load(toy).precision == "float32"


def test_it_plays_its_golden_sound_in_the_sandbox(toy: Path) -> None:
    read = load(toy)
    assert np.abs(run_frames(read.runner(), read.golden_controls) - read.golden_audio).max() < 1e-6


def test_same_instrument_same_bytes_and_resaving_changes_nothing(toy: Path, tmp_path: Path) -> None:
    again = save(load(toy), tmp_path / "again.pochette")
    assert again.read_bytes() == toy.read_bytes()


def test_a_failed_write_leaves_the_old_file_and_no_litter(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, listing = toy.read_bytes(), sorted(os.listdir(toy.parent))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_module.os, "fsync", full)
    with pytest.raises(InstrumentError, match=r"No space left.*unchanged"):
        save(dataclasses.replace(toy_instrument(), board="pi5"), toy)
    assert toy.read_bytes() == before and sorted(os.listdir(toy.parent)) == listing


def test_a_missing_folder_or_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InstrumentError, match="could not be written"):
        save(toy_instrument(), tmp_path / "nowhere" / "toy.pochette")
    with pytest.raises(InstrumentError, match="no such instrument"):
        load(tmp_path / "none.pochette")
    with pytest.raises(InstrumentError, match="is a folder"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "engine.wasm", "source/toy.c", "golden.safetensors"])
def test_a_flipped_bit_names_the_member(toy: Path, name: str) -> None:
    found = members(toy)
    content = bytearray(found[name])
    content[len(content) // 2] ^= 4
    toy.write_bytes(pack(found | {name: bytes(content)}))
    with pytest.raises(InstrumentError, match=name):
        load(toy)


def test_a_later_schema_names_the_version_that_reads_it(toy: Path) -> None:
    change_manifest(toy, schema_version=7, pochette_version="3.2.1")
    with pytest.raises(InstrumentError, match=r"schema version 7.*pochette 3\.2\.1") as caught:
        load(toy)
    assert "pip install --upgrade 'pochette>=3.2.1'" in caught.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": "1"},
        {"schema_version": 0},
        {"name": "../../etc"},
        {"name": 3},
        {"title": "a\nb"},
        {"title": "x" * 300},
        {"engine": "a-b"},
        {"engine": "system(0);"},
        {"sample_rate_hz": 0},
        {"sample_rate_hz": 48000.0},
        {"sample_rate_hz": True},
        {"hop_samples": 1 << 40},
        {"latency_samples": -1},
        {"lead_samples": -1},
        {"lead_samples": 1.5},
        {"lead_samples": 1},
        {"controls": {}},
        {"controls": [1]},
        {"controls": []},
        {"pitch_range_hz": [1]},
        {"pitch_range_hz": [400, 100]},
        {"recipe": []},
        {"board": None},
        {"precision": "int4"},
        {"precision": ["int8"]},
        {"precision": None},
        {"provenance": "p"},
        {"provenance": json.loads("[" * 40 + "]" * 40)},
        {"members": {}},
        {"members": {"engine.wasm": 1}},
        {"members": {"engine.wasm": {"sha256": "zz", "bytes": 3}}},
        {"pochette_version": "1; rm"},
    ],
)
def test_every_field_of_the_manifest_is_checked(toy: Path, changes: dict[str, object]) -> None:
    with pytest.raises(InstrumentError):
        load(change_manifest(toy, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a b"},
        {"low": 9000},
        {"low": "1"},
        {"high": 1e300},
        {"default": -1},
        {"curve": "cubic"},
        {"curve": "logarithmic", "low": 0, "default": 0},
        {"unit": "x" * 99},
        {"help": 1},
    ],
)
def test_every_field_of_a_control_is_checked(toy: Path, changes: dict[str, object]) -> None:
    controls = [dict(vars(c)) for c in toy_instrument().source.controls]
    with pytest.raises(InstrumentError):
        load(change_manifest(toy, controls=[controls[0] | changes, controls[1]]))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"schema_version": NaN}', b'{"a":1,"a":1}', b"[" * 100_000, b"\xff"]
)
def test_a_manifest_that_is_no_sane_json_is_refused(toy: Path, text: bytes) -> None:
    toy.write_bytes(pack(members(toy) | {"manifest.json": text}))
    with pytest.raises(InstrumentError):
        load(toy)


def test_a_huge_float_or_integer_in_the_manifest_is_refused(toy: Path) -> None:
    text = members(toy)["manifest.json"].decode()
    for number in ("1e999", "9" * 10_000):
        toy.write_bytes(pack(members(toy) | {"manifest.json": text.replace("480000", number).encode()}))
        with pytest.raises(InstrumentError):
            load(toy)
        text = text.replace(number, "480000")


def raw_zip(*entries: tuple[zipfile.ZipInfo | str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return buffer.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"not a zip at all, only text" * 10,
        raw_zip(),
        raw_zip(("../manifest.json", b"{}")),
        raw_zip(("/manifest.json", b"{}")),
        raw_zip(("source/../../x.c", b"")),
        raw_zip(("source/x.py", b"")),
        raw_zip(("source/", b"")),
        raw_zip((link("manifest.json"), b"/etc/passwd")),
        raw_zip(*[(f"source/f{n}.c", b"") for n in range(65)]),
        raw_zip(("manifest.json", bytes(50 << 20)), kind=zipfile.ZIP_DEFLATED),
        raw_zip(("manifest.json", b"{}"), kind=zipfile.ZIP_LZMA) + b"trailing",
    ],
    ids=range(13),
)
def test_unsafe_archives_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.pochette"
    path.write_bytes(data)
    with pytest.raises(InstrumentError):
        load(path)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.pochette"
    with pytest.warns(UserWarning, match="Duplicate"):
        path.write_bytes(raw_zip(("manifest.json", b"{}"), ("manifest.json", b"[]")))
    with pytest.raises(InstrumentError, match="twice"):
        load(path)


def test_a_member_that_the_manifest_does_not_list_is_refused(toy: Path) -> None:
    toy.write_bytes(pack(members(toy) | {"source/extra.c": b"int x;"}))
    with pytest.raises(InstrumentError, match="manifest lists"):
        load(toy)


def test_an_engine_that_is_not_the_manifests_is_not_played(toy: Path) -> None:
    read = load(toy)
    other = EngineSource(**{**vars(read.source), "controls": (Control("a", "", 0, 1, 0),)})
    with pytest.raises(InstrumentError, match="not the one"):
        dataclasses.replace(read, source=other, _built={}).runner()


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    for changes in ({"name": "a/b"}, {"title": "x" * 999}, {"provenance": {"loss": float("nan")}}, {"wasm": b"ELF"}):
        with pytest.raises(InstrumentError):
            save(dataclasses.replace(toy_instrument(), **changes), tmp_path / "x.pochette")
    assert not list(tmp_path.glob("x.*"))


def test_native_code_needs_trust_or_to_be_built_here(toy: Path) -> None:
    with pytest.raises(InstrumentError, match="not built on this machine") as caught:
        load(toy).runner("c")
    assert "--trust" in caught.value.remedy
    assert load(toy).runner("c", trust=True).kind == "c"
    remember_built_here(toy)
    native = load(toy).runner("c")
    assert np.abs(run_frames(native, load(toy).golden_controls) - load(toy).golden_audio).max() < 1e-5


def test_a_damaged_record_trusts_nothing(toy: Path) -> None:
    remember_built_here(toy)
    (Path(os.environ["POCHETTE_STATE"]) / "built-here.json").write_text("{broken")
    with pytest.raises(InstrumentError):
        load(toy).runner("c")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_damage_only_ever_raises_instrument_errors(draw: st.DataObject) -> None:
    data = bytearray(_toy_bytes())
    for _ in range(draw.draw(st.integers(0, 5))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    data = data[: draw.draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))]
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"pochette-fuzz-{os.getpid()}.pochette"
    path.write_bytes(data)
    try:
        assert isinstance(load(path), Instrument)
    except InstrumentError as error:
        assert error.remedy
    finally:
        path.unlink()


def _toy_bytes() -> bytes:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"pochette-whole-{os.getpid()}.pochette"
    try:
        return save(toy_instrument(), path).read_bytes()
    finally:
        path.unlink()


def test_files_of_schema_version_1_load_for_ever() -> None:
    kept = load(Path(__file__).parent / "data" / "v1.pochette")
    assert (kept.title, kept.board, len(kept.source.controls)) == ("Kitchen Fiddle", "pi4", 5)
    assert np.abs(run_frames(kept.runner(), kept.golden_controls) - kept.golden_audio).max() < 1e-6


def test_the_page_on_the_format_names_every_field_and_limit(toy: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pochette-file.md").read_text()
    manifest = json.loads(members(toy)["manifest.json"])
    for name in (*manifest, *manifest["controls"][0], *(n for n in members(toy) if not n.startswith("source/"))):
        assert name in page, name
    assert f"| members | {archive_module.MEMBER_LIMIT} |" in page
    assert f"{archive_module.TOTAL_LIMIT_BYTES >> 20} MiB" in page and f"{archive_module.RATIO_LIMIT} times" in page
