"""From a trained model to an instrument: engine, sandbox build, golden vectors, and where it all came from."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pochette
from pochette.control import Control
from pochette.corpus.folder import FolderCorpus
from pochette.engine.build import compile_wasm
from pochette.engine.export import export_with_twin, identifier
from pochette.engine.precision import LayerPrecision, Precision, snr_db
from pochette.engine.rounding import layers_of
from pochette.engine.runner import FloatArray
from pochette.engine.twin import Playing
from pochette.instrument import Instrument
from pochette.measure.profile import profile_graphs
from pochette.models.model import Model
from pochette.train.session import describe

GOLDEN_SECONDS = 10.0
SWING_SECONDS = 0.5
"""From the beginning of the golden curve, in which the knobs swing for the first time."""
LAYERS_FRAMES = 500
"""Of the golden curve, over which each layer of an engine of fewer bits is held against the network's."""
SHORT_GOLDEN_SECONDS = 0.1
"""Of golden sound for models that hear themselves."""


@dataclass(frozen=True)
class Ranges:
    """What a corpus holds, and so what an instrument should be played with."""

    pitch_hz: tuple[float, float] | None
    loudness_db: tuple[float, float]

    @classmethod
    def of(cls, corpus: FolderCorpus) -> Ranges:
        """Ranges of a corpus."""
        return cls(corpus.f0_range_hz(), corpus.loudness_range_db())


def golden_curve(model: Model, ranges: Ranges) -> FloatArray:
    """Ten seconds in which every control moves over what it will be played with, in steps and in glides.

    All of it moves from the first frame on, and the sound begins at its loudest: emulated processors play no more than
    a beginning, and a note in one piece reads its controls there and nowhere else.

    Of a model that hears itself only the first tenth of a second: a difference of rounding that turns one drawn sample
    into another is true playing too, and everything after it is another sound.

    Args:
        model: gives controls and rates.
        ranges: of pitch and loudness.

    Returns:
        (frame, control).
    """
    seconds = SHORT_GOLDEN_SECONDS if model.feeds_back else GOLDEN_SECONDS
    frames = round(seconds * model.sample_rate_hz / model.hop_samples)
    t = np.arange(frames) * model.hop_samples / model.sample_rate_hz
    low_hz, high_hz = ranges.pitch_hz or USUAL_PITCH_HZ
    low_db, high_db = ranges.loudness_db
    special = {
        "pitch_hz": low_hz * (high_hz / low_hz) ** (np.floor(t * 2) * 0.37 % 1.0) * 2 ** (0.03 * np.sin(33 * t)),
        "loudness_db": low_db + (high_db - low_db) * (0.5 + 0.5 * np.cos(2.1 * t)) * (0.85 + 0.15 * np.cos(31 * t)),
    }
    columns = [
        np.clip(special.get(knob.name, knob.default + _swing(knob, number, t)), knob.low, knob.high)
        for number, knob in enumerate(model.controls)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _swing(knob: Control, number: int, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a knob is from rest: it swings at once, rests for a while, as in training, and at last swings slowly."""
    roomier = 1.0 if knob.high - knob.default >= knob.default - knob.low else -1.0
    early = np.cos(2 * np.pi * (1.5 + number % 5 / 4) * t) * (t < SWING_SECONDS)
    late = np.sin((0.7 + 0.3 * number) * t) * (t > GOLDEN_SECONDS / 2)
    swing: NDArray[np.float64] = 0.4 * (knob.high - knob.low) * roomier * (early + late)
    return swing


USUAL_PITCH_HZ = (110.0, 880.0)
USUAL = Ranges(USUAL_PITCH_HZ, (-60.0, -6.0))
"""Of a model that has heard no sounds: three octaves, soft to loud."""


@torch.no_grad()
def _played(model: Model, controls: FloatArray) -> FloatArray:
    """The model's own sound of a control curve: the offline form, which the streaming one equals by contract."""
    audio: FloatArray = model.eval()(torch.from_numpy(controls)[None])[0].numpy()
    return audio


def build_instrument(
    model: Model,
    name: str,
    ranges: Ranges,
    *,
    title: str = "",
    board: str = "",
    provenance: dict[str, Any] | None = None,
    precision: Precision = "float32",
) -> Instrument:
    """Generate, compile and describe the instrument of a model.

    The golden sound is the model's own. Where matrices are stored in fewer bits it is that of the engine's twin
    (`engine.twin`), so that every build is held against what it should say, as closely as ever; how far the twin is
    from the model is told in the provenance, layer by layer too.

    Args:
        model: trained.
        name: of files and C functions; made a valid identifier.
        ranges: of the corpus it was trained on.
        title: for people.
        board: it was made for.
        provenance: what is known of its making; parameters and operations are added.
        precision: in which large matrices are stored.

    Returns:
        the instrument, not saved.

    Raises:
        ExportError: the model holds what the engine cannot do.
        ToolError: no compiler for WebAssembly.
    """
    name = identifier(name)
    source, twin = export_with_twin(model, name, precision)
    controls = golden_curve(model, ranges)
    own = _played(model, controls)
    golden = own if precision == "float32" else twin.play(controls)
    layers = () if precision == "float32" else layers_of(twin, controls[:LAYERS_FRAMES])
    return Instrument(
        name=name,
        source=source,
        wasm=compile_wasm(source),
        weights={path: tensor.detach().numpy() for path, tensor in model.state_dict().items()},
        golden_controls=controls,
        golden_audio=golden,
        title=title or name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        pochette_version=pochette.__version__,
        # Hits have a pitch somewhere too, and an instrument without that control would not follow it.
        pitch_range_hz=ranges.pitch_hz if any(knob.name == "pitch_hz" for knob in model.controls) else None,
        recipe=describe(model),
        board=board,
        provenance={
            **(provenance or {}),
            **_counted(model, twin),
            "loudness_range_db": list(ranges.loudness_db),
            **({} if precision == "float32" else {"rounding": _rounding(own, golden, layers)}),
        },
    )


def _counted(model: Model, twin: Playing) -> dict[str, Any]:
    """Parameters and operations, of the graphs that the engine was written from."""
    counted = profile_graphs(twin.graphs(), model.sample_rate_hz / model.hop_samples)
    return {"parameters": counted.parameters, "operations_per_second": round(counted.macs_per_second or 0)}


def _rounding(own: FloatArray, golden: FloatArray, layers: Sequence[LayerPrecision]) -> dict[str, Any]:
    """How many matrices have fewer bits and what that did to the golden sound, and how each of them fared."""
    return {
        "matrices": sum(line.precision != "float32" for line in layers),
        "golden_largest_difference": float(np.abs(own - golden).max()),
        "golden_snr_db": _finite_db(snr_db(own, golden)),
        "layers": [
            {
                **asdict(line),
                "weight_snr_db": _finite_db(line.weight_snr_db),
                "output_snr_db": _finite_db(line.output_snr_db),
            }
            for line in layers
        ],
    }


def _finite_db(decibels: float | None) -> float | None:
    """A ratio to a tenth of a decibel; None where nothing is rounded, or nothing sounds."""
    return round(decibels, 1) if decibels is not None and np.isfinite(decibels) else None
