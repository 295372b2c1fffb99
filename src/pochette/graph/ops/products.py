"""Products of tensors summed over shared axes, all of them read as one equation: y[...] = sum over what y has not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from pochette.graph.contraction import Contraction, Term, term_of
from pochette.graph.coupling import Coupling
from pochette.graph.graph import Node, Value
from pochette.graph.grids import Labels
from pochette.graph.loops import Operand, broadcast_strides, loop, parted, strides_of, whole
from pochette.graph.operator import Cost, Operator, describe, real_products

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter

Letters = tuple[str, ...]
"""One name for each axis."""


@dataclass(frozen=True)
class Equation:
    """What is multiplied, and over which axes it is summed."""

    operands: tuple[Value, ...]
    letters: tuple[Letters, ...]
    """Of each operand's axes; those that meet have one name, and one of them may have length 1."""
    output: Letters
    added: Value | None = None
    """What is added to the products, broadcast."""
    scales: int = 0
    """Multiplications of every output by a number that is not 1."""

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every named axis."""
        found: dict[str, int] = {}
        for value, letters in zip(self.operands, self.letters, strict=True):
            for letter, size in zip(letters, value.shape, strict=True):
                found[letter] = size if found.get(letter, 1) == 1 else found[letter]
        return found


def meet(coupling: Coupling, candidates: Sequence[Labels]) -> Labels:
    """Labels of an axis on which several tensors meet, with broadcasting: index by index they belong together.

    Args:
        coupling: of the graph.
        candidates: labels of that axis of each tensor, at least one.

    Returns:
        those of the first that has the axis at its full length; tied to all others that have.
    """
    length = max(len(labels) for labels in candidates)
    whole = [labels for labels in candidates if len(labels) == length]
    for single in (labels for labels in candidates if len(labels) != length):
        coupling.meets_all(single)
    for other in whole[1:]:
        coupling.tie(whole[0], other)
    return whole[0]


def add_to(coupling: Coupling, added: Value | None, axes: list[Labels]) -> None:
    """Tie what is added, broadcast, to what it is added to; axes of length 1 meet every index and none is tied.

    Args:
        coupling: of the graph.
        added: a bias; None if there is none.
        axes: labels of the sum.
    """
    if added is not None:
        for back, labels in enumerate(reversed(coupling.axes(added)), start=1):
            if len(labels) == len(axes[-back]):
                coupling.tie(axes[-back], labels)
            else:
                coupling.meets_all(labels)


class Product(Operator, ABC):
    """Sums of products; subclasses say which equation a node is."""

    of_complex = True

    weight: int | None = None
    """Place of the operand that is the weight whatever it is multiplied with; None if any may be one."""

    @abstractmethod
    def equation(self, node: Node) -> Equation:
        """The node's equation.

        Args:
            node: one operator applied to values.

        Returns:
            operands, axes, and what is added.
        """

    def cost(self, node: Node) -> Cost:
        """One MAC for every combination of indices of two operands; more than two are multiplied left to right.

        An index that one operand alone has, and that nothing needs later, is summed before the product. Products that
        are not summed, as in an outer product, are pointwise. A MAC of complex numbers is `real_products` of real ones.
        """
        equation = self.equation(node)
        sizes = equation.sizes
        macs = pointwise = 0
        left: set[str] = set(equation.letters[0])
        kinds = [value.dtype.is_complex for value in equation.operands]
        for number, letters in enumerate(equation.letters[1:], start=1):
            later = {*equation.output, *(name for others in equation.letters[number + 1 :] for name in others)}
            right = set(letters)
            for mine, theirs in ((left, right), (right, left)):
                if alone := mine - theirs - later:
                    pointwise += prod(sizes[letter] for letter in mine)
                    mine.difference_update(alone)
            products = prod(sizes[letter] for letter in left | right)
            if left | right <= later:
                pointwise += products  # nothing is summed: no accumulation
            else:
                macs += products * real_products(any(kinds[:number]), kinds[number])
            left = (left | right) & later
        if left - set(equation.output):  # a single operand
            pointwise += prod(sizes[letter] for letter in left)
        return Cost(macs, pointwise + node.output.size * (equation.scales + (equation.added is not None)))

    def couple(self, node: Node, coupling: Coupling) -> None:
        """Axes that meet are tied; those summed over end here; a learnt operand makes the axes that only it has."""
        equation = self.equation(node)
        if any(len(set(letters)) < len(letters) for letters in (*equation.letters, equation.output)):
            for value in (*node.inputs(), node.output):
                coupling.freeze(value, "its diagonal is taken")
            return
        # What follows from weights alone is a weight: something else makes its rows and reads its columns.
        data = not coupling.learnt(node.output)
        makers = [value for place, value in enumerate(equation.operands) if data or place == self.weight]
        axes: dict[str, Labels] = {}
        for letter, size in equation.sizes.items():
            places = [
                (value, letters.index(letter))
                for value, letters in zip(equation.operands, equation.letters, strict=True)
                if letter in letters and value.shape[letters.index(letter)] == size
            ]
            if letter not in equation.output:
                _contract(node, coupling, places)
            axes[letter] = meet(coupling, [coupling.axes(value)[axis] for value, axis in places])
            if letter in equation.output and len(places) == 1 and places[0][0] in makers:
                coupling.makes(node, places[0][0], axes[letter])
        labels = [axes[letter] for letter in equation.output]
        add_to(coupling, equation.added, labels)
        coupling.set(node.output, labels)

    def emit(self, node: Node, emitter: Emitter) -> None:
        """Products of two matrices at a time, then what is added."""
        equation, out = self.equation(node), node.output
        if any(whole(emitter, value) for value in node.inputs()):
            emitter.refuse("products of whole numbers")
        if len(set(equation.output)) < len(equation.output):
            emitter.refuse("a product written along a diagonal")
        if out.dtype.is_complex:
            _complex(equation, out, emitter)
            return
        sizes = equation.sizes
        terms = [
            term_of(emitter, value, letters, sizes)
            for value, letters in zip(equation.operands, equation.letters, strict=True)
        ]
        output = term_of(emitter, out, equation.output, sizes)
        Contraction(emitter, sizes).product(terms, output, equation.output)
        if equation.added is not None or equation.scales:
            _add(node, equation.added, emitter)


def _complex(equation: Equation, out: Value, emitter: Emitter) -> None:
    """Four real products of two complex operands; their sums and differences are the parts of the result."""
    if len(equation.operands) != 2 or equation.added is not None or equation.scales:
        emitter.refuse("products of complex numbers with more than two operands, or something added")
    sizes = equation.sizes
    emitter.own(out, out.size)
    whole_terms = []
    for value, letters in zip(equation.operands, equation.letters, strict=True):
        factor, address = 2 if value.dtype.is_complex else 1, parted(emitter, value)
        term = term_of(emitter, value, letters, sizes, address)
        strides = {letter: factor * stride for letter, stride in term.strides.items()}
        whole_terms.append([Term(f"{address} + {part}", strides) for part in range(factor)])
    output = term_of(emitter, out, equation.output, sizes)
    made, write = emitter.ref(out), Contraction(emitter, sizes)
    for part in range(2):
        sums = []
        for first, a in enumerate(whole_terms[0]):
            for second, b in enumerate(whole_terms[1]):
                if (first + second) % 2 == part:
                    product = emitter.scratch(out.size)
                    write.product([a, b], Term(product, output.strides), equation.output)
                    sums.append(f"{'-' if first + second == 2 else '+'} ({product})[{{0}}]")
        text = " ".join(sums) or "0.0f"
        operands = [Operand(made, (2,), part), Operand("", (1,))]
        loop(emitter, [out.size], operands, lambda i, j, text=text: f"({made})[{i}] = {text.format(j)};")


def _add(node: Node, added: Value | None, emitter: Emitter) -> None:
    """Write alpha times the products plus beta times what is added, broadcast."""
    out, base = node.output, emitter.ref(node.output)
    beta, alpha = node.args[3:5] if len(node.args) == 5 else (1, 1)
    scaled = f"({base})[{{0}}]" if alpha == 1 else f"{emitter.number(alpha)} * ({base})[{{0}}]"
    operands = [Operand(base, tuple(strides_of(out.shape)))]
    if added is not None and beta != 0:
        own = emitter.ref(added)
        operands.append(Operand(own, tuple(broadcast_strides(added.shape, out.shape))))
        scaled += f" + ({own})[{{1}}]" if beta == 1 else f" + {emitter.number(beta)} * ({own})[{{1}}]"
    loop(emitter, out.shape, operands, lambda i, *more: f"({base})[{i}] = {scaled.format(i, *more)};")


def _contract(node: Node, coupling: Coupling, places: list[tuple[Value, int]]) -> None:
    """Note who is read over an axis: data rather than a weight, and with which weight.

    A product of two weights has units of its own, its rank: one makes them, the other reads them.
    """
    learnt = [value for value, _ in places if coupling.learnt(value)]
    data = [place for place in places if not coupling.learnt(place[0])]
    value, axis = (data or places)[0]
    if len(data) == len(places) == 2:
        coupling.meet(node, *data[0], *data[1])
    elif len(learnt) == len(places) == 2:
        coupling.makes(node, value, coupling.axes(value)[axis])
        coupling.reads(node, value, axis, learnt[1], within=True)
    else:
        coupling.reads(node, value, axis, learnt[0] if learnt else value)


def _batch(*ranks: int) -> tuple[Letters, ...]:
    """Names of leading axes that meet from the right."""
    return tuple(tuple(f"batch {back}" for back in range(rank, 0, -1)) for rank in ranks)


class MatrixProduct(Product):
    """`matmul` and its relatives: rows of the first with columns of the second, vectors and leading axes allowed."""

    def equation(self, node: Node) -> Equation:
        """Leading axes meet, the first's last axis is summed with the second's last but one."""
        a, b = node.args[:2]
        return Equation((a, b), *_matrices(a, b))


def _matrices(a: Value, b: Value) -> tuple[tuple[Letters, Letters], Letters]:
    first, second = _batch(max(len(a.shape) - 2, 0), max(len(b.shape) - 2, 0))
    row: Letters = ("row",) if len(a.shape) > 1 else ()
    column: Letters = ("column",) if len(b.shape) > 1 else ()
    return ((*first, *row, "sum"), (*second, "sum", *column)), (*max(first, second, key=len), *row, *column)


class AddedProduct(Product):
    """beta * added + alpha * (first @ second)."""

    def equation(self, node: Node) -> Equation:
        """A matrix product, and something added."""
        added, a, b, beta, alpha = node.args
        scales = (alpha != 1) + (beta != 1)
        if node.op == "aten.addr.default":
            return Equation((a, b), (("row",), ("column",)), ("row", "column"), added, scales)
        return Equation((a, b), *_matrices(a, b), added, scales)


class Fixed(Product):
    """A product whose equation is always the same.

    Args:
        *operands: letters of each operand's axes.
        output: of the result's.
    """

    def __init__(self, *operands: str, output: str) -> None:
        self.letters, self.output_letters = tuple(tuple(operand) for operand in operands), tuple(output)

    def equation(self, node: Node) -> Equation:
        """The one that was given."""
        return Equation(node.args[: len(self.letters)], self.letters, self.output_letters)


class Conjugated(Fixed):
    """The same with one operand's imaginary parts turned round, which is written for real numbers only."""

    of_complex = False


class Inner(Product):
    """Sums over the last axes of both."""

    def equation(self, node: Node) -> Equation:
        """The first's leading axes, then the second's."""
        a, b = node.args
        left = tuple(f"left {axis}" for axis in range(len(a.shape) - 1))
        right = tuple(f"right {axis}" for axis in range(len(b.shape) - 1))
        return Equation((a, b), ((*left, "sum"), (*right, "sum")), (*left, *right))


class TensorDot(Product):
    """Sums over listed axes of both."""

    def equation(self, node: Node) -> Equation:
        """The axes that are left of the first, then those of the second."""
        a, b, a_dims, b_dims = node.args
        left = [f"left {axis}" for axis in range(len(a.shape))]
        right = [f"right {axis}" for axis in range(len(b.shape))]
        for mine, theirs in zip(a_dims, b_dims, strict=True):
            right[theirs] = left[mine]
        once = [letter for letter in (*left, *right) if (letter in left) != (letter in right)]
        return Equation((a, b), (tuple(left), tuple(right)), tuple(once))


class Bilinear(Product):
    """y_o = x1^T W_o x2 + b_o over the last axes."""

    weight = 1

    def equation(self, node: Node) -> Equation:
        """Leading axes meet; the weight has the output's axis."""
        a, b, weight, bias = node.args
        (lead,) = _batch(len(a.shape) - 1)
        return Equation(
            (a, weight, b), ((*lead, "left"), ("out", "left", "right"), (*lead, "right")), (*lead, "out"), bias
        )


class Einsum(Product):
    """Einstein's sum, as it is written."""

    def equation(self, node: Node) -> Equation:
        """The text, with names for the axes behind an ellipsis; without an arrow, letters that occur once remain."""
        text, operands = node.args[0].replace(" ", ""), tuple(node.args[1])
        inputs, arrow, output = text.partition("->")
        letters = tuple(
            _letters(term, len(value.shape)) for term, value in zip(inputs.split(","), operands, strict=True)
        )
        hidden = max((_hidden(own) for own in letters), key=len)
        if arrow:
            before, dots, after = output.partition("...")
            return Equation(operands, letters, (*before, *(hidden if dots else ()), *after))
        everything = [letter for own in letters for letter in own if len(letter) == 1]
        once = sorted(letter for letter in set(everything) if everything.count(letter) == 1)
        return Equation(operands, letters, (*hidden, *once))


def _letters(term: str, rank: int) -> Letters:
    before, dots, after = term.partition("...")
    (hidden,) = _batch(rank - len(before) - len(after))
    return (*before, *(hidden if dots else ()), *after)


def _hidden(letters: Letters) -> Letters:
    return tuple(letter for letter in letters if len(letter) > 1)


def _names(*names: str) -> tuple[Any, ...]:
    return tuple(f"aten.{name}.default" for name in names)


describe(*_names("mm", "bmm", "matmul", "mv"), operator=MatrixProduct())
describe(*_names("addmm", "addmv", "baddbmm", "addr"), operator=AddedProduct())
describe(*_names("dot"), operator=Fixed("i", "i", output=""))
describe(*_names("vdot"), operator=Conjugated("i", "i", output=""))
describe(*_names("outer", "ger"), operator=Fixed("i", "j", output="ij"))
describe("aten.inner.default", operator=Inner())
describe("aten.tensordot.default", operator=TensorDot())
describe("aten.bilinear.default", operator=Bilinear())
describe("aten.einsum.default", operator=Einsum())
