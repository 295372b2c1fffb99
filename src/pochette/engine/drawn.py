"""Engines of models that make their sound sample by sample: what is done once a frame, and a loop around one sample.

Every part is a captured graph of its own and becomes C of its own, NAME_hold and NAME_draw, and between them, of models
of several clocks, NAME_tier0, NAME_tier1...: a tier turns every so many samples. What a frame holds, and what a tier
said at its latest turn, lies in the state between them, and so do the latest samples, which tiers hear.
"""

from __future__ import annotations

from itertools import pairwise

from pochette.engine.compiled import call_names, library_files
from pochette.engine.core import kernels_of, write_core
from pochette.engine.emitter import Emitter
from pochette.engine.face import Face, Frame
from pochette.engine.precision import Precision
from pochette.engine.source import EngineSource
from pochette.engine.twin import DrawnTwin, PartTwin, Twin
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.models.autoregressive import Autoregressive, Part
from pochette.models.clocked import heard_at_rest

Captured = list[tuple[Part, Graph]]


def write_drawn(model: Autoregressive, face: Face, precision: Precision) -> tuple[EngineSource, DrawnTwin]:
    """Write the engine of an autoregressive model.

    Args:
        model: trained or not.
        face: name, controls and rates.
        precision: in which large matrices are stored.

    Returns:
        the source files, and what they must sound like.

    Raises:
        ExportError: the model holds an operator that has no C, or there is no such precision.
    """
    parts = [(part, capture(part, part.example_inputs())) for part in model.parts()]
    files, twins = kernels_of([]), []
    for part, graph in parts:
        # Controls are clamped before they are held, so nothing but numbers comes in.
        core = write_core(graph, *call_names(graph), parted=True, sane=True, precision=precision)
        files |= library_files(f"{face.name}_{part.name}", graph, core, strict=False)
        twin = Twin(graph, core.rounded, core.whole, core.precision_report)
        twins.append(PartTwin(twin, part.every_samples, part.heard_samples))
    heard = heard_at_rest(model)
    return face.engine(_frame(face, parts, heard.tolist()), files, precision), DrawnTwin(twins, heard)


def _frame(face: Face, parts: Captured, heard: list[float]) -> Frame:
    """The arithmetic around the parts.

    Args:
        face: name, controls and rates.
        parts: with their graphs, slowest first.
        heard: samples that tiers hear before the first one is made.

    Returns:
        the text and what it needs.
    """
    name, (_, hold), tiers = face.name, parts[0], parts[1:-1]
    names = [part.name for part, _ in parts]
    fields = [f"    float held{i}[{value.size}];" for i, value in enumerate(hold.outputs)]
    fields += [f"    float {part.name}_said[{graph.outputs[0].size}];" for part, graph in tiers]
    fields += [f"    {name}_{part}_state {part};" for part in names]
    reset = [f"    {name}_{part}_reset(&s->{part});" for part in names]
    if heard:
        fields.append(f"    float heard[{len(heard) + face.hop_samples}];")
        reset += [f"    s->heard[{i}] = {Emitter.number(sample)};" for i, sample in enumerate(heard)]
    return Frame(
        functions='#include "pc_math.h"',
        body=_body(face, parts, len(heard)),
        reset="\n".join(reset),
        types="".join(f'#include "{name}_{part}.h"\n' for part in sorted(names)),
        fields="\n".join(fields),
    )


def _body(face: Face, parts: Captured, past: int) -> str:
    """A frame's statements: what is held, then, sample by sample, each part whose turn it is.

    Args:
        face: name, controls and rates.
        parts: with their graphs, slowest first.
        past: samples that are kept for tiers to hear; they lie before those of the frame.

    Returns:
        C.
    """
    name, (_, hold) = face.name, parts[0]
    held = "".join(f", s->held{i}" for i in range(len(hold.outputs)))
    lines = [
        f"{name}_hold_process(&s->hold, controls{held});",
        f"for (int n = 0; n < {name}_HOP_SAMPLES; n++) {{",
    ]
    above = ""
    for (part, graph), (following, _) in pairwise([*parts[1:], parts[-1]]):
        every, heard = part.every_samples, part.heard_samples
        given = held + above + (f", s->heard + n + {past - heard}" if heard else "")
        if part is following:
            made, when = f"s->heard + n + {past}" if past else "s->audio + n", ""
        else:
            made, when = f"s->{part.name}_said", f"if (n % {every} == 0) "
            width = graph.outputs[0].size * following.every_samples // every
            above = f", s->{part.name}_said + n % {every} / {following.every_samples} * {width}"
        lines.append(f"    {when}{name}_{part.name}_process(&s->{part.name}{given}, {made});")
    lines.append("}")
    if past:
        lines.append(f"pc_copy(s->audio, s->heard + {past}, {name}_HOP_SAMPLES);")
        lines.append(f"pc_copy(s->heard, s->heard + {name}_HOP_SAMPLES, {past});")
    return "\n".join(f"    {line}" for line in lines)
