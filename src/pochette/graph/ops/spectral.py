"""Fourier transforms, running sums and products, and the two halves of complex numbers."""

from __future__ import annotations

from math import log2, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pochette.graph import complex_numbers
from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, broadcast_strides, lay, loop, parted, strides_of, whole
from pochette.graph.operator import Cost, Operator, describe
from pochette.graph.ops.pointwise import Elementwise

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

FloatArray = npt.NDArray[np.float64]


def fourier_operations(points: int, *, real: bool) -> float:
    """Floating-point operations of one transform: 5 N log2 N of N complex points, half of it if they are real."""
    return (2.5 if real else 5.0) * points * log2(max(points, 1))


def _fixed(coupling: Coupling, length: int) -> Labels:
    """An axis that a transform makes in full."""
    labels = coupling.fresh(length)
    coupling.freeze_labels(labels, "transformed")
    return labels


class Transformed(Operator):
    """Some axes transformed as wholes, the others one by one.

    Args:
        axes: place of the argument that names them.
        length: place of the argument that cuts or pads them first; None if there is none. Without named axes,
            as many of the last ones are meant as there are lengths, or all.
    """

    def __init__(self, axes: int, length: int | None = None) -> None:
        self.place, self.length = axes, length

    def axes(self, node: Node) -> list[int]:
        """The transformed axes.

        Args:
            node: one operator applied to values.

        Returns:
            their numbers.
        """
        asked, rank = node.args[self.place], len(node.args[0].shape)
        lengths = None if self.length is None else node.args[self.length]
        if asked is None:
            count = len(lengths) if isinstance(lengths, (list, tuple)) else rank
            return list(range(rank - count, rank))
        return [axis % rank for axis in ([asked] if isinstance(asked, int) else asked)]

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Every result depends on every member of the transformed axes; the others pass."""
        axes = coupling.axes(node.args[0])
        for axis in self.axes(node):
            coupling.freeze_labels(axes[axis], "transformed")
            axes[axis] = _fixed(coupling, node.output.shape[axis])
        coupling.set(node.output, axes)


class Fourier(Transformed):
    """Discrete Fourier transforms, forwards and back."""

    of_complex = True

    def cost(self, node: Node) -> Cost:
        """5 N log2 N a transform of N complex points; half if one side is real. Scaling is not counted."""
        x, axes = node.args[0], self.axes(node)
        out = node.output
        real = not (x.dtype.is_complex and out.dtype.is_complex)
        asked: Any = None if self.length is None else node.args[self.length]
        if x.dtype.is_complex:
            lengths = [out.shape[axis] for axis in axes]
        elif asked is None:
            lengths = [x.shape[axis] for axis in axes]
        else:
            lengths = [asked] if isinstance(asked, int) else list(asked)
            lengths = [x.shape[axis] if size == -1 else size for axis, size in zip(axes, lengths, strict=True)]
        rows = x.size // prod(x.shape[axis] for axis in axes)
        return Cost(fft=round(rows * fourier_operations(prod(lengths), real=real)))

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call a row; an axis that is not the last is brought there and back."""
        x, out, name = node.args[0], node.output, node.op.split(".")[1].removeprefix("fft_")
        if name not in ("fft", "ifft", "rfft", "irfft"):
            emitter.refuse(f"Fourier transforms of the kind {name}")
        (axis,), wanted = self.axes(node), {"irfft": out}.get(name, x)
        n = node.args[1] or (out.shape[axis] if name in ("irfft", "ifft", "fft") else wanted.shape[axis])
        if out.dtype.is_complex:
            emitter.own(out, out.size)
        source, lead = _last(emitter, x, axis), [size for a, size in enumerate(x.shape) if a != axis]
        inside = axis == len(x.shape) - 1
        parts = [2 if value.dtype.is_complex else 1 for value in (out, x)]
        target = emitter.ref(out) if inside else emitter.scratch(out.size * parts[0])
        emitter.need("pc_fourier.h")
        numbers = [str(n), str(x.shape[axis])]
        kernel = {"rfft": "pc_fourier_real", "irfft": "pc_fourier_back"}.get(name, "pc_fourier_complex")
        if name == "irfft":
            numbers.append("1")
        elif name != "rfft":
            numbers += [str(int(parts[1] == 1)), "1.0f" if name == "ifft" else "-1.0f"]
        numbers.append(emitter.number(_scaling(node.args[3], n, back=name.startswith("i"))))
        table, scratch = _table(emitter, n), emitter.scratch(4 * n + 2)
        widths = out.shape[axis] * parts[0], x.shape[axis] * parts[1]
        loop(
            emitter,
            [prod(lead)],
            [Operand("", (width,)) for width in widths],
            lambda y, i: f"{kernel}({target} + {y}, {source} + {i}, {table}, {', '.join(numbers)}, {scratch});",
        )
        if not inside:
            _from_last(emitter, target, out, axis, parts[0])


def _table(emitter: Emitter, n: int) -> str:
    """Cosines and sines of a full turn in n steps."""
    turn = 2 * np.pi * np.arange(n) / n
    return emitter.constant(np.concatenate([np.cos(turn), np.sin(turn)]))


def _scaling(norm: str | None, n: int, *, back: bool) -> float:
    """What the sums are multiplied by."""
    if norm == "ortho":
        return float(n**-0.5)
    return 1 / n if (norm == "forward") != back else 1.0


def _steps(shape: tuple[int, ...], axis: int, parts: int) -> tuple[list[int], list[int], list[int]]:
    """Lengths and strides, in memory and with an axis brought to the end; complex numbers have an axis of two parts."""
    order = [*(a for a in range(len(shape)) if a != axis), axis]
    own = strides_of([*shape, parts])
    lengths = [*(shape[a] for a in order), parts]
    return lengths, [*(own[a] for a in order), 1], strides_of(lengths)


def _last(emitter: Emitter, x: Value, axis: int) -> str:
    """Where a tensor lies with an axis at the end."""
    if axis == len(x.shape) - 1:
        return parted(emitter, x)
    lengths, own, wanted = _steps(x.shape, axis, 2 if x.dtype.is_complex else 1)
    base = emitter.scratch(prod(lengths))
    lay(emitter, lengths, Operand(base, tuple(wanted)), Operand(parted(emitter, x), tuple(own)))
    return base


def _from_last(emitter: Emitter, base: str, out: Value, axis: int, parts: int) -> None:
    lengths, own, given = _steps(out.shape, axis, parts)
    lay(emitter, lengths, Operand(emitter.ref(out), tuple(own)), Operand(base, tuple(given)))


class Cumulative(Transformed):
    """Sums or products of all that came before."""

    def cost(self, node: Node) -> Cost:
        """One operation an element."""
        return Cost(pointwise=node.args[0].size)

    def couple(self, node: Node, coupling: Coupling) -> None:
        """What is added up in its order stays whole."""
        axes = coupling.axes(node.args[0])
        for axis in self.axes(node) if axes else []:
            coupling.freeze_labels(axes[axis], "added up in its order")
        for output in node.outputs:
            coupling.set(output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """One kernel call."""
        x, out, name = node.args[0], node.output, node.op.split(".")[1]
        counted = whole(emitter, x)
        kernel = {"cumsum": "pc_running_count" if counted else "pc_running_sum", "cumprod": "pc_running_product"}
        kernel |= {"cummax": "pc_running_largest", "cummin": "pc_running_largest"}
        if name not in kernel or counted != whole(emitter, out) or (counted and name != "cumsum"):
            emitter.refuse(f"{name} of {x.dtype} to {out.dtype}")
        axis = self.axes(node)[0] if x.shape else 0
        sizes = (prod(x.shape[:axis]), x.shape[axis] if x.shape else 1, prod(x.shape[axis + 1 :]))
        arguments = [emitter.ref(output) for output in node.outputs] + [emitter.ref(x), *map(str, sizes)]
        if kernel[name] == "pc_running_largest":
            arguments.append("-1.0f" if name == "cummin" else "1.0f")
        emitter.need("pc_running.h")
        emitter.line(f"{kernel[name]}({', '.join(arguments)});")


class ShortTime(Operator):
    """Fourier transforms of windows along the time."""

    of_complex = True

    def cost(self, node: Node) -> Cost:
        """A product with the window a sample, where there is one, and a transform, for each frame."""
        x, points, window = node.args[0], node.args[1], node.args[4]
        frames = node.output.shape[len(x.shape)] * prod(x.shape[:-1])
        operations = fourier_operations(points, real=not x.dtype.is_complex)
        return Cost(pointwise=frames * points if window is not None else 0, fft=round(frames * operations))

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The batch passes; time, window and spectrum stay."""
        x, window = node.args[0], node.args[4]
        *batch, time = coupling.axes(x)
        coupling.freeze_labels(time, "transformed")
        if window is not None:
            coupling.freeze(window, "a window")
        coupling.set(node.output, [*batch, *(_fixed(coupling, size) for size in node.output.shape[len(batch) :])])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A kernel call for each sound."""
        x, out, (n, hop, length, window, normalized, onesided, as_complex) = node.args[0], node.output, node.args[1:8]
        if onesided is False or x.dtype.is_complex:
            emitter.refuse("both sides of a spectrum")
        del as_complex  # pairs of floats either way
        emitter.own(out, out.size if out.dtype.is_complex else 0)
        frames = (x.shape[-1] - n) // (hop or n // 4) + 1
        shape, scale = _window(emitter, window, length or n, n), n**-0.5 if normalized else 1.0
        emitter.need("pc_fourier.h")
        made, source, table, scratch = emitter.ref(out), emitter.ref(x), _table(emitter, n), emitter.scratch(6 * n + 2)
        numbers = f"{n}, {hop or n // 4}, {frames}, {emitter.number(scale)}"
        loop(
            emitter,
            [prod(x.shape[:-1])],
            [Operand("", (2 * (n // 2 + 1) * frames,)), Operand("", (x.shape[-1],))],
            lambda y, i: (
                f"pc_short_time({made} + {y}, {source} + {i}, {emitter.constant(shape)}, {table}, {numbers}, "
                f"{scratch});"
            ),
        )


class Overlapped(ShortTime):
    """The inverse: windows transformed back and added where they overlap."""

    def cost(self, node: Node) -> Cost:
        """A transform a frame; window and addition a sample of it, and a division by the windows' sum a sample."""
        x, points, window, onesided = node.args[0], node.args[1], node.args[4], node.args[7]
        frames = x.shape[-1] * prod(x.shape[:-2])
        whole = onesided is False
        each = 1 + (window is not None)
        return Cost(
            pointwise=frames * points * each + node.output.size,
            fft=round(frames * fourier_operations(points, real=not whole)),
        )

    def couple(self, node: Node, coupling: Coupling) -> None:
        """The batch passes; spectrum, frames and time stay."""
        x, window = node.args[0], node.args[4]
        *batch, bins, frames = coupling.axes(x)
        for labels in (bins, frames):
            coupling.freeze_labels(labels, "transformed")
        if window is not None:
            coupling.freeze(window, "a window")
        coupling.set(node.output, [*batch, _fixed(coupling, node.output.shape[-1])])

    def emit(self, node: Node, emitter: Emitter) -> None:
        """A kernel call for each sound; what the windows add up to is divided out by a stored number a sample."""
        x, out, (n, hop, length, window, center, normalized, onesided) = node.args[0], node.output, node.args[1:8]
        if onesided is False or out.dtype.is_complex:
            emitter.refuse("both sides of a spectrum")
        hop, frames = hop or n // 4, x.shape[-1]
        shape = _window(emitter, window, length or n, n)
        total = np.zeros(n + (frames - 1) * hop)
        for frame in range(frames):
            total[frame * hop : frame * hop + n] += shape**2
        weight = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
        first, samples = n // 2 if center else 0, out.shape[-1]
        weight = np.pad(weight, (0, samples))[first : first + samples]
        emitter.need("pc_fourier.h")
        scratch = emitter.scratch(6 * n + (frames - 1) * hop)
        made, source = emitter.ref(out), parted(emitter, x)
        stored = ", ".join([emitter.constant(shape), emitter.constant(weight), _table(emitter, n)])
        scale = emitter.number(n**-0.5 if normalized else 1 / n)
        loop(
            emitter,
            [prod(out.shape[:-1])],
            [Operand("", (samples,)), Operand("", (2 * (n // 2 + 1) * frames,))],
            lambda y, i: (
                f"pc_overlapped({made} + {y}, {source} + {i}, {stored}, {n}, {hop}, {frames}, {first}, "
                f"{samples}, {scale}, {scratch});"
            ),
        )


def _window(emitter: Emitter, window: Value | None, length: int, n: int) -> FloatArray:
    """The numbers of a window, with zeros on both sides if it is shorter than a transform."""
    if window is not None and window.kind not in ("parameter", "constant"):
        emitter.refuse("a window that is computed")
    numbers = np.ones(length) if window is None else emitter.tensor(window).astype(np.float64)
    left = (n - length) // 2
    return np.pad(numbers, (left, n - length - left))


class Halves(Operator):
    """Complex numbers as pairs of real ones, or back."""

    of_complex = True
    view = True

    def couple(self, node: Node, coupling: Coupling) -> None:
        """All axes pass but that of the pairs."""
        axes = coupling.axes(node.args[0])
        if len(node.output.shape) > len(axes):
            axes.append(_fixed(coupling, 2))
        elif len(node.output.shape) < len(axes):
            coupling.freeze_labels(axes.pop(), "real and imaginary part")
        coupling.set(node.output, axes)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """The same memory; one half of each pair is copied."""
        x, out, name = node.args[0], node.output, node.op.split(".")[1]
        if name.startswith("view_as"):
            emitter.alias(out, x, 0)
            return
        part = Operand(parted(emitter, x), (2,), int(name == "imag"))
        lay(emitter, [out.size], Operand(emitter.ref(out), (1,)), part)


class Composed(Elementwise):
    """Complex numbers of two real ones each, by their parts or by length and angle; and the angle of one."""

    def cost(self, node: Node) -> Cost:
        """By parts: nothing. By length and angle: sine, cosine and two products. The angle: one arc tangent."""
        each = {"aten.polar.default": Cost(pointwise=2, transcendental=2), "aten.angle.default": Cost(transcendental=1)}
        return each.get(node.op, Cost()) * node.output.size

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Both parts side by side."""
        if node.op != "aten.complex.default":
            complex_numbers.emit(node, emitter)
            return
        out = node.output
        emitter.own(out, out.size)
        steps = tuple(2 * stride for stride in strides_of(out.shape))
        for part, value in enumerate(node.args):
            read = Operand(emitter.ref(value), tuple(broadcast_strides(value.shape, out.shape)))
            lay(emitter, out.shape, Operand(emitter.ref(out), steps, part), read)


_FOURIER = Fourier(axes=2, length=1)
for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    describe(f"aten.fft_{_name}.default", operator=_FOURIER)
for _name in ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"):
    describe(f"aten.fft_{_name}.default", operator=_FOURIER)
describe("aten._fft_r2c.default", "aten._fft_c2c.default", "aten._fft_c2r.default", operator=Fourier(axes=1))
describe("aten.fft_fftshift.default", "aten.fft_ifftshift.default", operator=Transformed(axes=1))
describe("aten.cumsum.default", "aten.cumprod.default", "aten.logcumsumexp.default", operator=Cumulative(axes=1))
describe("aten.cummax.default", "aten.cummin.default", operator=Cumulative(axes=1))
describe("aten.stft.default", operator=ShortTime())
describe("aten.istft.default", operator=Overlapped())
describe(
    "aten.view_as_real.default",
    "aten.view_as_complex.default",
    "aten.real.default",
    "aten.imag.default",
    operator=Halves(),
)
describe("aten.complex.default", "aten.polar.default", "aten.angle.default", "aten._conj.default", operator=Composed())
