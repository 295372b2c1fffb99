"""The .pochette file: everything an instrument is, in one file that is safe to open; docs/pochette-file.md is its page.

A .pochette file may come from anyone. Loading one runs none of its code, takes no memory that was not checked first,
and believes nothing: names, sizes, checksums, every field of the manifest and every array are verified. Playing it runs
its WebAssembly build in a sandbox that can reach nothing outside; native code is for files that were built on this
machine or that a person has said to trust.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import pochette
from pochette.engine.build import compile_host_library
from pochette.engine.native import NativeRunner
from pochette.engine.precision import Precision
from pochette.engine.runner import FloatArray, Runner
from pochette.engine.source import EngineSource
from pochette.engine.wasm import WasmModule, WasmRunner
from pochette.errors import InstrumentError
from pochette.instrument import trust as trust_record
from pochette.instrument.archive import TOTAL_LIMIT_BYTES, pack, unpack, write_atomically
from pochette.instrument.manifest import Manifest, load_json, parse, to_text
from pochette.instrument.tensors import read_tensors, write_tensors

EngineKind = Literal["wasm", "c"]
_REQUIRED = ("manifest.json", "weights.safetensors", "golden.safetensors", "engine.wasm")


@dataclass(frozen=True, eq=False)
class Instrument:
    """A playable thing: an engine with its controls, weights, proof and history."""

    name: str
    """Short name for files and hosts: letters, digits, "-" and "_"."""
    source: EngineSource = field(repr=False)
    """Engine source in C99, with controls, rates and latency."""
    wasm: bytes = field(repr=False)
    """The engine's WebAssembly build, which imports nothing."""
    weights: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    """The trained parameters, by name."""
    golden_controls: FloatArray = field(repr=False)
    """(frame, control): the control curve that every build is compared on."""
    golden_audio: FloatArray = field(repr=False)
    """(frame * hop,): what it must sound like."""
    title: str = ""
    """Name for people; the short name if empty."""
    created: str = ""
    """When it was made, ISO 8601."""
    pochette_version: str = pochette.__version__
    pitch_range_hz: tuple[float, float] | None = None
    """Lowest and highest note it was made for; the pitch control's range if None and there is one."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The model's recipe, as JSON."""
    board: str = ""
    """The machine it was made for."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Corpus fingerprint, seconds, seed, training steps, reductions, metrics..."""
    report: dict[str, Any] | None = None
    """What was measured when it was made."""
    digest: str = ""
    """SHA-256 of the file it was loaded from; empty if it was made in this process."""
    path: Path | None = None
    """The file it was loaded from."""
    _built: dict[str, Any] = field(default_factory=dict, repr=False)
    """Compiled engines by kind, so that more voices come quickly."""

    def __post_init__(self) -> None:
        """Tidy the title, which is often the name of a folder: one line of printable letters."""
        spaced = "".join(letter for letter in " ".join(self.title.split()) if letter.isprintable())
        object.__setattr__(self, "title", spaced)

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second that the engine makes."""
        return self.source.sample_rate_hz

    @property
    def precision(self) -> Precision:
        """In which the engine's large matrices are stored."""
        return self.source.precision

    @property
    def parameters(self) -> int:
        """How many numbers its weights hold."""
        return sum(array.size for array in self.weights.values())

    def runner(self, kind: EngineKind = "wasm", trust: bool = False) -> Runner:
        """One more voice.

        Args:
            kind: "wasm" runs in the sandbox; "c" compiles the source for this machine and runs it natively.
            trust: allow "c" for a file that was not built here.

        Returns:
            a voice, silent.

        Raises:
            InstrumentError: native code was asked for without trust, or the engine disagrees with the manifest.
            ToolError: no compiler was found for "c".
        """
        if kind not in ("wasm", "c"):
            raise InstrumentError(f"There is no engine kind {kind!r}.", remedy="Use wasm or c.")
        if kind == "c":
            self._check_trust(trust)
        runner = self._voice(kind)
        claims = (self.source.sample_rate_hz, self.source.hop_samples, len(self.source.controls))
        if (runner.sample_rate_hz, runner.hop_samples, runner.n_controls) != claims:
            raise InstrumentError(
                "The engine in this file is not the one that its manifest describes.",
                where=str(self.path or self.name),
                remedy="Fetch or build the file again.",
            )
        return runner

    def save(self, path: Path) -> Path:
        """Write the instrument; see `save`."""
        return save(self, path)

    def _voice(self, kind: EngineKind) -> Runner:
        if kind == "wasm":
            if kind not in self._built:
                self._built[kind] = WasmModule(self.wasm)
            return WasmRunner(self._built[kind])
        if kind not in self._built:
            self._built[kind] = compile_host_library(self.source, trust_record.state_dir() / "native")
        return NativeRunner(self._built[kind])

    def _check_trust(self, trust: bool) -> None:
        if trust or not self.digest or trust_record.built_here(self.digest):
            return
        raise InstrumentError(
            "This instrument was not built on this machine, and native code can do anything that you can do.",
            where=str(self.path or self.name),
            remedy="Leave --engine at wasm, which runs it in a sandbox; or, if you trust who made it, add --trust.",
        )


def save(instrument: Instrument, path: Path) -> Path:
    """Write an instrument: whole and readable, or not at all.

    The same instrument always gives the same bytes.

    Args:
        instrument: what to write.
        path: a file name, by custom ending in `.pochette`; replaced if it exists.

    Returns:
        the path.

    Raises:
        InstrumentError: a part is out of the format's range, or the file cannot be written; what was there before is
            then unchanged.
    """
    path = Path(path)
    members = _members_of(instrument)
    sums = {name: (trust_record.digest_of(content), len(content)) for name, content in members.items()}
    manifest = to_text(replace(_manifest_of(instrument), members=sums))
    data = pack({"manifest.json": manifest, **members})
    # Reading back what is about to be written is the cheapest proof that it can be read.
    _from_members(unpack(data, str(path)), path, "")
    write_atomically(path, data)
    return path


def load(path: Path) -> Instrument:
    """Read an instrument, trusting nothing in it and running none of it.

    Args:
        path: a .pochette file.

    Returns:
        the instrument.

    Raises:
        InstrumentError: missing, cut short, damaged, unsafe, of a later version...; says which and what to do.
    """
    path = Path(path)
    try:
        if path.is_dir():
            inside = sorted(path.glob("*.pochette"))
            raise InstrumentError(
                "This is a folder, not a file.",
                where=str(path),
                remedy=f"Name the instrument in it: {str(inside[0])!r}." if inside else "Name a .pochette file.",
            )
        if not path.is_file():
            raise InstrumentError("There is no such instrument file.", where=str(path), remedy="Check the name.")
        with path.open("rb") as file:
            data = file.read(TOTAL_LIMIT_BYTES + 1)
    except OSError as error:
        raise InstrumentError(
            f"The instrument file cannot be read: {error.strerror or error}.",
            where=str(path),
            remedy="Check the name and its permissions.",
        ) from error
    if len(data) > TOTAL_LIMIT_BYTES:
        raise InstrumentError(
            f"This instrument file is larger than {TOTAL_LIMIT_BYTES >> 20} MiB.",
            where=str(path),
            remedy="Instruments are far smaller: check that this is a .pochette file.",
        )
    return _from_members(unpack(data, str(path)), path, trust_record.digest_of(data))


def _members_of(instrument: Instrument) -> dict[str, bytes]:
    """Every member but the manifest, in the order of the file."""
    golden = {
        "controls": np.asarray(instrument.golden_controls, np.float32),
        "audio": np.asarray(instrument.golden_audio, np.float32),
    }
    members = {
        "weights.safetensors": write_tensors(instrument.weights),
        **{f"source/{name}": text.encode() for name, text in sorted(instrument.source.files.items())},
        "engine.wasm": instrument.wasm,
        "golden.safetensors": write_tensors(golden),
    }
    if instrument.report is not None:
        members["report.json"] = (json.dumps(instrument.report, indent=1, ensure_ascii=False) + "\n").encode()
    return members


def _manifest_of(instrument: Instrument) -> Manifest:
    source = instrument.source
    pitch_range = instrument.pitch_range_hz
    for control in source.controls:
        if pitch_range is None and control.name == "pitch_hz":
            pitch_range = (control.low, control.high)
    return Manifest(
        name=instrument.name,
        title=instrument.title or instrument.name,
        engine=source.name,
        sample_rate_hz=source.sample_rate_hz,
        hop_samples=source.hop_samples,
        latency_samples=source.latency_samples,
        controls=source.controls,
        created=instrument.created,
        pochette_version=instrument.pochette_version,
        pitch_range_hz=pitch_range,
        recipe=instrument.recipe,
        board=instrument.board,
        precision=source.precision,
        lead_samples=source.lead_samples,
        sound_frames=source.sound_frames,
        provenance=instrument.provenance,
    )


def _from_members(members: dict[str, bytes], path: Path, digest: str) -> Instrument:
    where = str(path)
    for name in _REQUIRED:
        if name not in members:
            raise _damaged(f"its member {name} is missing", where)
    manifest = parse(members["manifest.json"], where)
    _check_sums(members, manifest, where)
    try:
        files = {
            name.removeprefix("source/"): content.decode("utf-8")
            for name, content in members.items()
            if name.startswith("source/")
        }
    except UnicodeDecodeError as error:
        raise _damaged("its source is not text", where) from error
    controls, audio = _golden(members["golden.safetensors"], manifest, where)
    report = load_json(members["report.json"], "report.json", where) if "report.json" in members else None
    if not members["engine.wasm"].startswith(b"\0asm") or not (report is None or isinstance(report, dict)):
        raise _damaged("engine.wasm or report.json is of the wrong kind", where)
    return Instrument(
        name=manifest.name,
        title=manifest.title,
        source=EngineSource(
            manifest.engine,
            files,
            manifest.controls,
            manifest.sample_rate_hz,
            manifest.hop_samples,
            manifest.latency_samples,
            manifest.precision,
            manifest.lead_samples,
            manifest.sound_frames,
        ),
        wasm=members["engine.wasm"],
        weights=read_tensors(members["weights.safetensors"], f"{where}: weights.safetensors"),
        golden_controls=controls,
        golden_audio=audio,
        created=manifest.created,
        pochette_version=manifest.pochette_version,
        pitch_range_hz=manifest.pitch_range_hz,
        recipe=manifest.recipe,
        board=manifest.board,
        provenance=manifest.provenance,
        report=report,
        digest=digest,
        path=path,
    )


def _check_sums(members: dict[str, bytes], manifest: Manifest, where: str) -> None:
    if set(manifest.members) != set(members) - {"manifest.json"}:
        raise _damaged("its members are not those that its manifest lists", where)
    for name, (sha, size) in manifest.members.items():
        if len(members[name]) != size or trust_record.digest_of(members[name]) != sha:
            raise _damaged(f"its member {name} was changed since it was made", where)


def _golden(data: bytes, manifest: Manifest, where: str) -> tuple[FloatArray, FloatArray]:
    tensors = read_tensors(data, f"{where}: golden.safetensors")
    controls, audio = tensors.get("controls"), tensors.get("audio")
    if controls is None or audio is None or controls.dtype != np.float32 or audio.dtype != np.float32:
        raise _damaged("its golden sound is missing or not in float32", where)
    fits = controls.ndim == 2 and controls.shape[1] == len(manifest.controls)
    if not fits or audio.shape != (controls.shape[0] * manifest.hop_samples,):
        raise _damaged("its golden sound does not match its controls", where)
    if not (np.isfinite(controls).all() and np.isfinite(audio).all()):
        raise _damaged("its golden sound is not finite", where)
    return controls, audio


def _damaged(why: str, where: str) -> InstrumentError:
    return InstrumentError(
        f"This instrument file is damaged: {why}.", where=where, remedy="Fetch or build the file again."
    )
