"""Sums of products of computed tensors in C: an equation becomes products of two matrices, in loops over what is left.

Axes that both operands have and the result keeps are looped over; those summed over, those of the left alone and those
of the right alone each become one axis. An operand whose memory does not allow that is copied into the order that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pochette.graph.graph import Value
from pochette.graph.loops import Operand, lay, loop, strides_of

if TYPE_CHECKING:
    from pochette.engine.emitter import Emitter


@dataclass(frozen=True)
class Term:
    """One operand: where it lies, and how far apart neighbours are along each axis that is longer than 1."""

    base: str
    strides: Mapping[str, int]


def term_of(emitter: Emitter, value: Value, letters: Sequence[str], sizes: Mapping[str, int], base: str = "") -> Term:
    """A tensor with a name for each axis; one that occurs twice runs along the diagonal.

    Args:
        emitter: knows the memory.
        value: of floats.
        letters: name of each axis.
        sizes: length of each name; a tensor may have length 1 where this is more.
        base: where it lies, if the emitter does not know.

    Returns:
        the operand.
    """
    strides: dict[str, int] = {}
    for letter, size, stride in zip(letters, value.shape, strides_of(value.shape), strict=True):
        if sizes[letter] > 1:
            strides[letter] = strides.get(letter, 0) + (stride if size > 1 else 0)
    return Term(base or emitter.ref(value), strides)


class Contraction:
    """Writes products of operands whose axes have the same names.

    Args:
        emitter: collects the statements.
        sizes: length of each name.
    """

    def __init__(self, emitter: Emitter, sizes: Mapping[str, int]) -> None:
        self.emitter, self.sizes = emitter, sizes

    def product(self, terms: Sequence[Term], output: Term, order: Sequence[str]) -> None:
        """Multiply from left to right, summing over an axis as soon as nobody needs it.

        Args:
            terms: operands.
            output: what is written.
            order: names of its axes, outermost first.
        """
        kept = [letter for letter in order if letter in output.strides]
        left = terms[0]
        for number, given in enumerate(terms[1:], start=2):
            later = {*kept, *(letter for term in terms[number:] for letter in term.strides)}
            left, right = self._summed(left, {*later, *given.strides}), self._summed(given, {*later, *left.strides})
            if number == len(terms):
                self._multiply(left, right, output, kept)
                return
            names = [letter for letter in {**left.strides, **right.strides} if letter in later]
            made = self._fresh(names)
            self._multiply(left, right, made, names)
            left = made
        self._copy(self._summed(left, set(kept)), output, kept)

    def _length(self, letters: Sequence[str]) -> int:
        return prod(self.sizes[letter] for letter in letters)

    def _fresh(self, letters: Sequence[str]) -> Term:
        """Scratch memory with axes in this order."""
        lengths = [self.sizes[letter] for letter in letters]
        base = self.emitter.scratch(prod(lengths))
        return Term(base, dict(zip(letters, strides_of(lengths), strict=True)))

    def _copy(self, source: Term, target: Term, letters: Sequence[str]) -> None:
        write, read = (
            Operand(term.base, tuple(term.strides.get(letter, 0) for letter in letters)) for term in (target, source)
        )
        lay(self.emitter, [self.sizes[letter] for letter in letters], write, read)

    def _relaid(self, term: Term, letters: Sequence[str]) -> Term:
        """A copy with axes in this order."""
        made = self._fresh([letter for letter in letters if letter in term.strides])
        self._copy(term, made, list(made.strides))
        return made

    def _summed(self, term: Term, needed: set[str]) -> Term:
        """The same without the axes that nobody needs, which are summed over."""
        alone = [letter for letter in term.strides if letter not in needed]
        if not alone:
            return term
        kept = [letter for letter in term.strides if letter in needed]
        rows, made = self._relaid(term, [*kept, *alone]), self._fresh(kept)
        self.emitter.need("pc_reduce.h")
        self.emitter.line(f"pc_sum_of({made.base}, {rows.base}, {self._length(kept)}, {self._length(alone)}, 1);")
        return made

    def _stride(self, letters: Sequence[str], term: Term) -> int | None:
        """How far apart neighbours are along axes taken as one; None if they cannot be."""
        strides = [term.strides.get(letter, 0) for letter in letters]
        for letter, outer, inner in zip(letters[1:], strides, strides[1:], strict=False):
            if outer != inner * self.sizes[letter]:
                return None
        return strides[-1] if strides else 0

    def _multiply(self, left: Term, right: Term, output: Term, order: Sequence[str]) -> None:
        """One product; afterwards the result is put in order if it could not be made so."""
        summed = [letter for letter in right.strides if letter in left.strides and letter not in order]
        batch = [letter for letter in order if letter in left.strides and letter in right.strides]
        rows = [letter for letter in order if letter not in right.strides]
        columns = [letter for letter in order if letter not in left.strides]
        if (order and order[-1] in rows) or not columns:
            left, right, rows, columns = right, left, columns, rows
        in_order = self._stride(rows, output) is not None and self._stride(columns, output) == (1 if columns else 0)
        target = output if in_order else self._fresh([*batch, *rows, *columns])
        if self._stride(rows, left) is None or self._stride(summed, left) is None:
            left = self._relaid(left, [*batch, *rows, *summed])
        steps = self._stride(summed, right), self._stride(columns, right)
        if None in steps or (columns and steps[1] != 1 and steps[0] != 1):
            right = self._relaid(right, [*batch, *summed, *columns])
        if self._stride(columns, right) != 1 and self._stride(summed, left) != 1:
            left = self._relaid(left, [*batch, *rows, *summed])
        self._call(left, right, target, batch, rows, summed, columns)
        if target is not output:
            self._copy(target, output, order)

    def _call(
        self, left: Term, right: Term, target: Term, batch: Sequence[str], rows: Sequence[str], summed: Sequence[str],
        columns: Sequence[str],
    ) -> None:  # fmt: skip
        terms = (target, left, right)
        distances = ", ".join(
            str(self._stride(letters, term))
            for letters, term in ((rows, target), (rows, left), (summed, left), (summed, right), (columns, right))
        )
        lengths = f"{self._length(rows)}, {self._length(summed)}, {self._length(columns)}"
        self.emitter.need("pc_multiply.h")
        loop(
            self.emitter,
            [self.sizes[letter] for letter in batch],
            [Operand(term.base, tuple(term.strides.get(letter, 0) for letter in batch)) for term in terms],
            lambda y, a, b: (
                f"pc_multiply({target.base} + {y}, {left.base} + {a}, {right.base} + {b}, {lengths}, "
                f"(pc_distances){{{distances}}});"
            ),
        )
