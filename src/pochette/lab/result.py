"""What `pochette make` found out, as plain data: everything its report says, apart from the sounds. Torch-free.

A number that nobody obtained is None, never 0. In JSON a number that is not finite is written as null.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pochette.errors import RunError

SCHEMA = 1
"""Version of the JSON form; raised when an older reader would misunderstand."""

ENDS = (("mean spectrum", "floor"), ("untrained", "recordings"))
"""Anchors between which a distance is read: of resynthesised sounds, and of crowds."""
LearningPoint = tuple[int, float | None, float | None]
"""Step, loss on the training sounds, loss on the held-out sounds."""


@dataclass(frozen=True)
class CorpusFacts:
    """What the instrument learnt from."""

    folder_name: str
    fingerprint: str
    sounds: int
    seconds: float
    held_out: tuple[str, ...]
    """Names of the sounds that were kept from training."""
    split_note: str
    """How they were chosen, one sentence."""
    problems: tuple[str, ...] = ()
    """Files that were left out, and why."""


@dataclass(frozen=True)
class Anchor:
    """A mark on the scale of distances: how far something is from the held-out sounds."""

    name: str
    """"silence", "white noise", "mean spectrum", "another take", "dense", "trimmed", "engine" or "floor"; where crowds
    were compared "untrained" and "recordings" instead of "mean spectrum" and "floor"."""
    distance: float
    help: str = ""
    """What is compared, one sentence."""


@dataclass(frozen=True)
class TrimPoint:
    """The network at one size."""

    name: str
    """"dense" for the first, "trimmed" for the one that was kept."""
    parameters: int
    network_macs_per_second: float
    held_out_loss: float | None = None
    distance: float | None = None
    """To the held-out sounds, as in the anchors."""
    steps: int = 0
    """Of training after the cut."""
    seconds: float | None = None
    """That this took."""
    devices: tuple[str, ...] = ()
    """That it was trained on."""


@dataclass(frozen=True)
class EngineFacts:
    """What the generated C is and costs; "before" means the dense network's engine."""

    state_bytes: int | None = None
    source_bytes: int | None = None
    wasm_bytes: int | None = None
    flash_bytes: int | None = None
    """Program and weights on the board."""
    ram_bytes: int | None = None
    """Held on the board while playing."""
    instructions_per_second: float | None = None
    """Per second of audio, one voice."""
    instructions_per_second_before: float | None = None
    network_instructions_per_second: float | None = None
    network_instructions_per_second_before: float | None = None
    cycles_per_second_low: float | None = None
    """What the instructions take at best (`boards.cycles`)."""
    cycles_per_second_high: float | None = None
    """And at worst; the verdict goes by this."""
    host_real_time_factor: float | None = None
    """CPU seconds per second of audio, on the machine that made this; below 1 it keeps up."""
    host_real_time_factor_before: float | None = None
    host_network_share: float | None = None
    """Of the host's time, spent in the network; 0 to 1."""
    host_network_share_before: float | None = None
    counted_for: str = ""
    """Processor whose instructions were counted ("Cortex-M7")."""
    method: str = ""
    """How they were counted, one sentence."""


@dataclass(frozen=True)
class VerdictFacts:
    """Whether the board bears the instrument."""

    fits: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    """What would help."""


@dataclass(frozen=True)
class GoldenCheck:
    """One build of the engine compared with the model's own sound."""

    engine: str
    """"C on this machine", "WebAssembly", "aarch64", "Cortex-M7"."""
    max_error: float | None
    """Largest difference of two samples; full scale is 1."""
    seconds_of_audio: float | None
    block_samples: tuple[int, ...]
    """Block sizes that were played."""
    passed: bool | None
    """None if the check could not be run; the note says why."""
    note: str = ""
    golden_peak: float | None = None
    """Largest sample of the golden sound that was played; None if none was."""


@dataclass(frozen=True)
class PlayingFacts:
    """How the instrument answers its controls."""

    pitch_accuracy_50_cents: float | None
    """Share of a chromatic scale's notes within a quarter tone; 0 to 1."""
    median_pitch_error_cents: float | None
    median_loudness_error_db: float | None
    notes: int
    """That were played."""
    tracker: str
    """What listened for the pitch."""


@dataclass(frozen=True)
class Stage:
    """Part of the work, and what it took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class MakeResult:
    """The whole job: from a folder of sounds to an instrument on a board."""

    name: str
    """Short name, as of the files."""
    title: str
    """Name for people."""
    created: str
    """ISO 8601."""
    board: str
    """As on the command line ("daisy-seed")."""
    board_title: str
    model: str
    size: str
    recipe: dict[str, Any]
    sample_rate_hz: int
    hop_samples: int
    latency_samples: int
    seed: int
    minutes: float
    """That the whole job took."""
    corpus: CorpusFacts
    anchors: tuple[Anchor, ...]
    metrics: dict[str, dict[str, float]]
    """Metric, row ("dense", "trimmed", ...), value on the held-out sounds."""
    trimming: tuple[TrimPoint, ...]
    """From dense to the smallest."""
    learning: dict[str, tuple[LearningPoint, ...]]
    """By phase of training."""
    profile_before: dict[str, Any]
    """`pochette.measure.Profile.to_json()` of the dense model."""
    profile_after: dict[str, Any]
    engine: EngineFacts
    verdict: VerdictFacts
    golden: tuple[GoldenCheck, ...]
    playing: PlayingFacts | None
    stages: tuple[Stage, ...]
    next_command: str
    """What to type now, one command a line."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the programs that took part, by name."""
    precision: str = "float32"
    """In which the engine's large matrices are stored."""
    matrices: tuple[dict[str, Any], ...] = ()
    """How each of them fared, where they are stored in fewer bits: `engine.precision.LayerPrecision` as data."""
    sound_seconds: float | None = None
    """That each of its sounds lasts; None where a sound lasts as long as it is held."""
    kept_whole: bool = False
    """Whether the network was left as it was trained, since the smaller ones sounded worse."""

    def distance(self, row: str) -> float | None:
        """Distance to the held-out sounds of one anchor; None if it is absent."""
        found = [anchor.distance for anchor in self.anchors if anchor.name == row]
        return found[0] if found and math.isfinite(found[0]) else None

    @property
    def ends(self) -> tuple[str, str] | None:
        """The anchors between which a distance is read, from far to near; None if they are absent."""
        known = [pair for pair in ENDS if None not in map(self.distance, pair)]
        return known[0] if known else None

    def gap_closed(self, row: str) -> float | None:
        """How far a row has come from one of the `ends` (0) to the other (1).

        Args:
            row: name of an anchor.

        Returns:
            the share; below 0 or above 1 if it lies outside; None if an anchor is absent or there is no gap.
        """
        if self.ends is None:
            return None
        far, own, near = (self.distance(name) for name in (self.ends[0], row, self.ends[1]))
        if far is None or own is None or near is None or far <= near:
            return None
        return (far - own) / (far - near)

    @property
    def dense(self) -> TrimPoint | None:
        """The network before trimming."""
        return self.trimming[0] if self.trimming else None

    @property
    def trimmed(self) -> TrimPoint | None:
        """The network that was kept: the dense one if that was, or the point called "trimmed", else the last."""
        if self.kept_whole:
            return self.dense
        candidates = [point for point in self.trimming if point.name == "trimmed"] or self.trimming[1:]
        return candidates[-1] if candidates else None

    @property
    def smaller(self) -> tuple[TrimPoint, ...]:
        """Networks that were made smaller still, and not kept."""
        kept = [number for number, point in enumerate(self.trimming) if point is self.trimmed]
        return self.trimming[kept[0] + 1 :] if kept else ()

    @property
    def macs_ratio(self) -> float | None:
        """Network MACs after trimming per MAC before."""
        before, after = self.dense, self.trimmed
        if before is None or after is None:
            return None
        return _ratio(after.network_macs_per_second, before.network_macs_per_second)

    @property
    def distance_ratio(self) -> float | None:
        """Distance after trimming per distance before; 1.02 is two percent worse. None if one is not above zero."""
        after, before = self.distance("trimmed"), self.distance("dense")
        return _ratio(after, before) if after is not None and before is not None and min(after, before) > 0.0 else None

    @property
    def verified(self) -> bool:
        """Whether every engine that was checked plays the golden sound, and at least one was."""
        return any(check.passed for check in self.golden) and all(check.passed is not False for check in self.golden)

    @property
    def passed(self) -> bool:
        """Whether the engine is verified and the board bears it."""
        return self.verified and self.verdict.fits

    def to_json(self) -> dict[str, Any]:
        """Plain data that `json.dumps(..., allow_nan=False)` takes."""
        return {"schema": SCHEMA, **_plain(dataclasses.asdict(self))}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MakeResult:
        """Read what `to_json` made.

        Args:
            data: parsed JSON.

        Returns:
            the result.

        Raises:
            RunError: the data are of a later version, or damaged.
        """
        schema = data.get("schema") if isinstance(data, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise RunError(
                f"This result has schema {schema}; this version of pochette reads up to {SCHEMA}.",
                remedy="Update pochette: pip install --upgrade pochette.",
            )
        if schema != SCHEMA:
            raise _damaged("it has no schema version that is known")
        result = _read(cls, data, "result")
        assert isinstance(result, MakeResult)
        return result


def _ratio(after: float | None, before: float | None) -> float | None:
    return None if after is None or not before else after / before


def _plain(value: Any) -> Any:
    """Tuples as lists, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(kind: Any, value: Any, place: str) -> Any:
    """A value as its annotation wants it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or (value is None and origin in (Union, UnionType)):
        read = value
    elif origin in (Union, UnionType):
        read = _read(arguments[0], value, place)
    elif dataclasses.is_dataclass(kind):
        read = _read_fields(kind, _of_type(value, dict, place), place)
    elif origin is tuple:
        read = _read_tuple(arguments, _of_type(value, list, place), place)
    elif origin is dict:
        parts = _of_type(value, dict, place).items()
        read = {key: _read(arguments[1], part, f"{place}.{key}") for key, part in parts}
    elif kind is float:
        read = math.nan if value is None else float(_of_type(value, (int, float), place))
    else:
        read = _of_type(value, kind, place)
    return read


def _read_tuple(arguments: tuple[Any, ...], parts: list[Any], place: str) -> tuple[Any, ...]:
    kinds = [arguments[0]] * len(parts) if arguments[-1] is Ellipsis else list(arguments)
    if len(parts) != len(kinds):
        raise _damaged(f"{place} has {len(parts)} values instead of {len(kinds)}")
    pairs = enumerate(zip(kinds, parts, strict=True))
    return tuple(_read(kind, part, f"{place}[{index}]") for index, (kind, part) in pairs)


def _read_fields(kind: Any, value: dict[str, Any], place: str) -> Any:
    hints, given = get_type_hints(kind), {}
    for each in dataclasses.fields(kind):
        if each.name in value:
            given[each.name] = _read(hints[each.name], value[each.name], f"{place}.{each.name}")
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise _damaged(f"{place}.{each.name} is missing")
    return kind(**given)


def _of_type(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _damaged(f"{place} is {type(value).__name__}")
    return value


def _damaged(why: str) -> RunError:
    return RunError(f"The result cannot be read: {why}.", remedy="Make the instrument again, or restore the file.")
