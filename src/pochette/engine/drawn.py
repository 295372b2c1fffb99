"""Engines of models that make their sound sample by sample: what is done once a frame, and a loop around one sample.

Both parts are captured graphs of their own and become C of their own, NAME_hold and NAME_draw. What a frame holds lies
in the state between them.
"""

from __future__ import annotations

from pochette.engine.compiled import call_names, library_files
from pochette.engine.core import kernels_of, write_core
from pochette.engine.face import Face, Frame
from pochette.engine.precision import Precision
from pochette.engine.source import EngineSource
from pochette.engine.twin import DrawnTwin, Twin
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.models.model import Autoregressive


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
    hold_part, draw_part = model.parts()
    hold = capture(hold_part, hold_part.example_inputs())
    draw = capture(draw_part, draw_part.example_inputs())
    files, twins = kernels_of([]), []
    for part, graph in (("hold", hold), ("draw", draw)):
        # Controls are clamped before they are held, so nothing but numbers comes in.
        core = write_core(graph, *call_names(graph), parted=True, sane=True, precision=precision)
        files |= library_files(f"{face.name}_{part}", graph, core, strict=False)
        twins.append(Twin(graph, core.rounded, core.whole))
    return face.engine(_frame(face, hold, draw), files, precision), DrawnTwin(twins[0], twins[1], face.hop_samples)


def _frame(face: Face, hold: Graph, draw: Graph) -> Frame:
    name = face.name
    held = [f"held{i}" for i in range(len(hold.outputs))]
    arguments = ", ".join(f"s->{array}" for array in held)
    fields = [f"    float {array}[{value.size}];" for array, value in zip(held, hold.outputs, strict=True)]
    assert [value.shape for value in hold.outputs] == [value.shape for value in draw.inputs]
    return Frame(
        functions='#include "pc_math.h"',
        body=f"""    {name}_hold_process(&s->hold, controls, {arguments});
    for (int n = 0; n < {name}_HOP_SAMPLES; n++) {name}_draw_process(&s->draw, {arguments}, s->audio + n);""",
        reset=f"    {name}_hold_reset(&s->hold);\n    {name}_draw_reset(&s->draw);",
        types=f'#include "{name}_draw.h"\n#include "{name}_hold.h"\n',
        fields="\n".join([*fields, f"    {name}_hold_state hold;", f"    {name}_draw_state draw;"]),
    )
