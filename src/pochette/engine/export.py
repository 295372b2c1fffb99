"""A model's engine: its step form captured, written as C99, with what a host must know of it."""

from __future__ import annotations

import re

from pochette.control import Control
from pochette.engine.core import Core, write_core
from pochette.engine.drawn import write_drawn
from pochette.engine.face import Face, Frame
from pochette.engine.precision import Precision
from pochette.engine.source import EngineSource
from pochette.engine.twin import Playing, Twin
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.models.autoregressive import Autoregressive
from pochette.models.model import Model, Step


def export(model: Model, name: str, *, precision: Precision = "float32") -> EngineSource:
    """Generate the engine of a streaming model.

    Args:
        model: trained or not, trimmed or not.
        name: prefix of the C functions; made a valid identifier.
        precision: in which the matrices of linear and recurrent layers are stored; the weights' header tells of each.

    Returns:
        the source files.

    Raises:
        ExportError: the model holds an operator that has no C, or there is no such precision.
    """
    return export_with_twin(model, name, precision)[0]


def export_with_twin(model: Model, name: str, precision: Precision) -> tuple[EngineSource, Playing]:
    """Generate the engine of a streaming model, and what it must sound like.

    Args:
        model: trained or not, trimmed or not.
        name: prefix of the C functions; made a valid identifier.
        precision: in which large matrices are stored.

    Returns:
        the source files, and the step in torch with its matrices rounded as the engine's are.

    Raises:
        ExportError: the model holds an operator that has no C, or there is no such precision.
    """
    lasts = model.excerpt_frames if model.mode == "one_shot" else None
    rates = (model.sample_rate_hz, model.hop_samples, model.latency_samples)
    face = Face(identifier(name), model.controls, *rates, model.lead_samples, lasts)
    model.eval()
    if isinstance(model, Autoregressive):
        return write_drawn(model, face, precision)
    step = Step(model)
    graph = capture(step, step.example_inputs())
    core = _core(graph, precision)
    return _engine(core, face, precision), Twin(graph, core.rounded, core.whole, core.precision_report)


def identifier(name: str) -> str:
    """A C identifier near a name: lower-case ASCII letters, digits and underscores, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    # Files that lie beside the engine's own, and names that `glue.c` uses itself.
    taken = plain.startswith("pc_") or plain in ("glue", "freestanding", "harness", "arena", "pochette")
    free = plain[:1].isalpha() and not taken
    return (plain if free else f"engine_{plain}".rstrip("_"))[:40]


def write_engine(
    graph: Graph,
    name: str,
    controls: tuple[Control, ...],
    sample_rate_hz: int,
    hop_samples: int,
    latency_samples: int,
    precision: Precision = "float32",
) -> EngineSource:
    """Write a captured step graph as C99.

    Args:
        graph: one input (1, control), one output (1, hop).
        name: C identifier.
        controls: the input's meaning.
        sample_rate_hz: of the output.
        hop_samples: length of the output.
        latency_samples: declared.
        precision: in which the matrices of linear and recurrent layers are stored.

    Returns:
        the source files.

    Raises:
        ExportError: an operator has no C, or there is no such precision.
    """
    face = Face(name, controls, sample_rate_hz, hop_samples, latency_samples)
    return _engine(_core(graph, precision), face, precision)


def _core(graph: Graph, precision: Precision) -> Core:
    return write_core(graph, ("controls",), ("s->audio",), parted=True, sane=True, precision=precision)


def _engine(core: Core, face: Face, precision: Precision) -> EngineSource:
    """The files around the arithmetic of a frame."""
    frame = Frame(
        functions=f'{core.includes}\n#include "{face.name}_weights.h"\n\n{core.functions}',
        body=core.body,
        reset=core.reset,
        types="",
        fields=core.fields,
    )
    return face.engine(frame, {f"{face.name}_weights.h": core.weights, **core.kernels}, precision)
