"""pochette's own synthesis operators (see `pochette.layers.synthesis` and `pochette.layers.reverb`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node
from pochette.graph.operator import Cost, Operator, describe
from pochette.layers.synthesis import CYCLE, hann_ramp

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


class Whole(Operator):
    """A synthesiser: none of its axes can lose members."""

    reason = "fixed by the synthesiser"

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Freeze everything."""
        for value in [*node.inputs(), *node.outputs]:
            coupling.freeze(value, self.reason)


class Harmonics(Whole):
    """A bank of oscillators at whole multiples of one frequency."""

    reason = "partials are numbered 1, 2, 3... without gaps"

    def cost(self, node: Node) -> Cost:
        """Cross-fading (2 MACs) and one sine a partial and sample."""
        amplitudes, hop = node.args[1], node.args[5]
        return Cost(macs=2 * amplitudes.size * hop, transcendental=amplitudes.size * hop)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call a frame."""
        f0, amplitudes, previous_f0, previous_amplitudes, phase, hop, rate = node.args
        emitter.need("pc_harmonics.h")
        audio, after = node.outputs
        partials = amplitudes.shape[-1]
        ramp = emitter.constant(hann_ramp(hop).numpy())
        scale = emitter.number(float(np.float32(CYCLE / rate)))
        emitter.copy_integers(after, phase)
        before_f0, before = emitter.ref(previous_f0), emitter.ref(previous_amplitudes)
        for frame in range(amplitudes.shape[1]):
            now = emitter.ref(amplitudes, frame * partials)
            emitter.line(
                f"pc_harmonics({emitter.ref(audio, frame * hop)}, {emitter.ref(after)}, ({emitter.ref(f0)})[{frame}], "
                f"({before_f0})[0], {now}, {before}, {partials}, {ramp}, {hop}, {scale});"
            )
            before_f0, before = emitter.ref(f0, frame), now


class FilteredNoise(Whole):
    """White noise through a filter that changes every frame."""

    def cost(self, node: Node) -> Cost:
        """The convolution, done directly: taps times samples."""
        response, hop = node.args[0], node.args[3]
        return Cost(macs=response.size * hop, pointwise=10 * response.shape[1] * hop)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call a frame."""
        response, counter, tail, hop = node.args
        emitter.need("pc_noise.h")
        audio, after, tail_after = node.outputs
        taps = response.shape[-1]
        emitter.copy_integers(after, counter)
        emitter.copy(emitter.ref(tail_after), emitter.ref(tail), taps - 1)
        scratch = emitter.scratch(hop + 3 * taps + 8)
        for frame in range(response.shape[1]):
            emitter.line(
                f"pc_filtered_noise({emitter.ref(audio, frame * hop)}, {emitter.ref(tail_after)}, "
                f"{emitter.ref(after)}, {emitter.ref(response, frame * taps)}, {taps}, {hop}, {scratch});"
            )


class WhiteNoise(Whole):
    """White noise from a counter."""

    def cost(self, node: Node) -> Cost:
        """A hash a sample."""
        return Cost(pointwise=10 * node.outputs[0].size)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        counter, samples = node.args
        emitter.need("pc_noise.h")
        audio, after = node.outputs
        emitter.copy_integers(after, counter)
        emitter.line(f"pc_white_noise({emitter.ref(audio)}, {emitter.ref(after)}, {samples});")


class Reverb(Whole):
    """A long learnt room response."""

    def cost(self, node: Node) -> Cost:
        """The convolution, done directly."""
        audio, response, _ = node.args
        return Cost(macs=audio.size * response.size, pointwise=audio.size)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        audio, response, history = node.args
        emitter.need("pc_reverb.h")
        wet, after = node.outputs
        samples, taps = audio.size, response.size
        scratch = emitter.scratch(samples + taps)
        emitter.line(
            f"pc_reverb({emitter.ref(wet)}, {emitter.ref(after)}, {emitter.ref(audio)}, {emitter.ref(response)}, "
            f"{emitter.ref(history)}, {taps}, {samples}, {scratch});"
        )


describe("pochette.harmonics.default", operator=Harmonics())
describe("pochette.filtered_noise.default", operator=FilteredNoise())
describe("pochette.white_noise.default", operator=WhiteNoise())
describe("pochette.reverb.default", operator=Reverb())
