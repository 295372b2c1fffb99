"""A hundred networks, trimmed: each smaller by exactly what was asked, and saying what its masked original says."""

from __future__ import annotations

import io
import re
import traceback
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import PochetteError, ReductionError
from pochette.reduce import trim
from pochette.reduce.trimming import TrimReport
from tests.graph import oracle
from tests.graph.networks import CASES, NOTHING, Case

# PyTorch's own counter leaves LSTMs out, takes complex numbers for real ones, and is wrong about these.
UNCOUNTED = {case.name for case in CASES if "LSTM" in case.name} | {"nn.MultiheadAttention", "a bilinear layer"}
UNCOUNTED |= {"transformer encoder layer", "low-rank correction of a weight", "complex weights"}
NAMED = {case.name: case for case in CASES}


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cases(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in chosen])


@dataclass(frozen=True)
class Trim:
    """What one call of `trim` did."""

    case: Case
    keep: float
    smaller: nn.Module | None
    """None if it refused."""
    changed: str
    """What it changed in the module that it was given; nothing may be."""

    @classmethod
    def of(cls, case: Case, keep: float) -> Trim:
        module = case.network()
        before = snapshot(module)
        smaller = None
        try:
            smaller = trim(module, case.example(), keep=keep)
        except ReductionError:
            if not case.whole:
                raise
        else:
            # What happens to the smaller one does not reach the original.
            kept = [value.clone() for value in smaller.parameters()]
            with torch.no_grad():
                for value in smaller.parameters():
                    value.zero_()
                changed = differences(module, before)
                for value, old in zip(smaller.parameters(), kept, strict=True):
                    value.copy_(old)
            return cls(case, keep, smaller, changed)
        return cls(case, keep, smaller, differences(module, before))

    @property
    def report(self) -> TrimReport:
        assert self.smaller is not None
        return self.smaller.trim_report  # type: ignore[return-value]

    def mask(self) -> nn.Module:
        assert self.smaller is not None
        return oracle.masked(self.case, oracle.survivors(self.case.network(), self.smaller))


def copied(module: nn.Module, case: Case) -> nn.Module:
    """A deep copy, which old weight norm allows after a call without gradients."""
    oracle.outputs(module, case.example())
    return deepcopy(module)


def snapshot(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor, and every plain attribute of every part, of a module."""
    tensors = {name: value.clone() for name, value in oracle.stored(module).items()}
    plain = {
        f"{path}.{name}": repr(value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, (int, float, str, bool, tuple, type(None))) and name != "call_super_init"
    }
    return tensors, plain


def differences(module: nn.Module, before: tuple[dict[str, Tensor], dict[str, str]]) -> str:
    """What is not as it was; empty if nothing is."""
    tensors, plain = snapshot(module)
    odd = [name for name in plain.keys() | before[1].keys() if plain.get(name) != before[1].get(name)]
    odd += sorted(tensors.keys() ^ before[0].keys())
    odd += [name for name, value in before[0].items() if name in tensors and not torch.equal(tensors[name], value)]
    return ", ".join(odd)


# -- what must hold of every network ----------------------------------------------------------------------------------


def the_original_is_untouched(made: Trim) -> None:
    assert made.changed == ""


def what_is_left_is_what_was_asked_for(made: Trim) -> None:
    case, width = made.case, made.case.narrow(made.keep)
    assert oracle.is_width(case, made.smaller, width), (oracle.shapes(made.smaller), oracle.shapes(case.network(width)))
    if case.name not in UNCOUNTED:
        assert oracle.pytorch_macs(made.smaller, case.example()) == case.macs(width)
    assert all(1 <= family.after < family.before for family in made.report.families)


def it_says_what_the_masked_one_says(made: Trim) -> None:
    verdict = oracle.judge(made.case, made.smaller, made.keep)
    assert verdict.answer == "exact", verdict


def norms_over_trimmed_axes_are_named_and_no_others(made: Trim) -> None:
    named = made.report.not_exact
    assert bool(named) == made.case.norms, named
    parts = {name for name, _ in made.case.network().named_modules()}
    assert set(named) <= parts, named


def lengths_are_as_reported(made: Trim) -> None:
    """At twice the length, unless the report says that the length stays."""
    case, lengths = made.case, made.report.lengths
    if not case.any_length or str(case.length) in re.findall(r"\d+", lengths) or "example" in lengths:
        assert not case.any_length or made.report.form == "graph"
        return
    assert oracle.difference(made.smaller, made.mask(), case.example(2 * case.length)) <= oracle.BOUND


def its_state_goes_through_a_file(made: Trim) -> None:
    """Into a copy whose numbers were all lost."""
    inputs = made.case.example()
    said = oracle.outputs(made.smaller, inputs)
    stream = io.BytesIO()
    torch.save(made.smaller.state_dict(), stream)
    stream.seek(0)
    copy = copied(made.smaller, made.case)
    with torch.no_grad():
        for value in [*copy.parameters(), *copy.buffers()]:
            value.zero_()
    copy.load_state_dict(torch.load(stream, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(oracle.outputs(copy, inputs), said, strict=True))


def it_learns(made: Trim) -> None:
    """One step, in which every living parameter that may learn has a gradient."""
    case, inputs = made.case, made.case.example()
    learner = copied(made.smaller, case).train()
    before = oracle.outputs(learner.eval(), inputs)
    learner.train()
    learning = [p for p in learner.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=1e-3)
    outputs = learner(*inputs)
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(part.square().mean() for part in parts).backward()
    idle = [name for name, p in learner.named_parameters() if p.requires_grad and p.grad is None]
    assert not [name for name in idle if not name.startswith(case.dead or ("\0",))]
    original = {name: p.requires_grad for name, p in case.network().named_parameters()}
    assert all(p.requires_grad == original[name] for name, p in learner.named_parameters())
    optimiser.step()
    after = oracle.outputs(learner.eval(), inputs)
    assert any(not torch.equal(a, b) and bool(a.isfinite().all()) for a, b in zip(after, before, strict=True))


def a_module_made_smaller_is_the_network_of_that_width(made: Trim) -> None:
    """Where a forward holds literal sizes the graph was rewritten instead, and this does not apply."""
    if made.report.form != "module":
        return
    built = made.case.network(made.case.narrow(made.keep))
    tensors = made.smaller.state_dict()
    assert {name: value.shape for name, value in built.state_dict().items()} == {n: v.shape for n, v in tensors.items()}
    built.load_state_dict(tensors)
    assert oracle.difference(made.smaller, built, made.case.example()) <= oracle.BOUND


def what_is_not_exact_is_said(made: Trim) -> None:
    """Of what cannot be cut exactly: it was refused, left alone, or is named."""
    if made.smaller is None:
        return
    error = oracle.difference(made.smaller, made.mask(), made.case.example())
    assert error <= oracle.BOUND or made.report.not_exact


ALWAYS = (the_original_is_untouched, what_is_left_is_what_was_asked_for, it_says_what_the_masked_one_says)
ONCE = (
    norms_over_trimmed_axes_are_named_and_no_others,
    lengths_are_as_reported,
    its_state_goes_through_a_file,
    it_learns,
    a_module_made_smaller_is_the_network_of_that_width,
)


@pytest.mark.parametrize("keep", [0.5, pytest.param(0.25, marks=pytest.mark.slow)])
@cases(list(CASES))
def test_trimming(case: Case, keep: float) -> None:
    """Capturing takes the time, so a network is trimmed once a share and then asked everything."""
    made = Trim.of(case, keep)
    checks = (the_original_is_untouched, what_is_not_exact_is_said) if case.whole else ALWAYS
    if keep == 0.5 and not case.whole:
        checks += ONCE
    failures = []
    for check in checks:
        try:
            check(made)
        except Exception as failure:
            failure.add_note(f"in: {check.__name__}")
            failures.append(failure)
    told = ExceptionGroup(f"{case.name}, keep {keep}", failures) if failures else None
    assert told is None, "".join(traceback.format_exception(told))


# -- what is refused --------------------------------------------------------------------------------------------------


@cases(list(NOTHING))
def test_nothing_to_trim_is_said_and_nothing_touched(case: Case) -> None:
    module = case.network()
    before = snapshot(module)
    with pytest.raises(ReductionError):
        trim(module, case.example(), keep=0.5)
    assert differences(module, before) == ""


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_shares_that_mean_nothing_are_refused(keep: float) -> None:
    case = CASES[0]
    module = case.network()
    before = snapshot(module)
    with pytest.raises(ReductionError):
        trim(module, case.example(), keep=keep)
    assert differences(module, before) == ""


class Undecided(nn.Module):
    """A branch on a value, which no export can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.one(x))
        return self.two(y if bool(y.sum() > 0) else -y)


def test_what_cannot_be_exported_is_refused_and_untouched() -> None:
    torch.manual_seed(0)
    module = Undecided()
    before = snapshot(module)
    with pytest.raises(PochetteError):
        trim(module, (torch.randn(2, 3),), keep=0.5)
    assert differences(module, before) == ""


# -- what may be asked for --------------------------------------------------------------------------------------------

GLOBAL = (
    "causal dilated Conv1d", "weight_norm, parametrization", "GRU, 2 layers", "FiLM by chunk", "gate by slices",
    "WaveNet with skip sums", "U-Net", "dense net: everything joined", "DDSP decoder without norms",
    "everything, weight_norm old", "grouped Conv1d", "MLP on (batch, frame, feature)",
)  # fmt: skip


@pytest.mark.parametrize("name", GLOBAL)
def test_one_ranking_for_the_whole_network(name: str) -> None:
    case = NAMED[name]
    smaller = trim(case.network(), case.example(), keep=0.5, scope="global")
    families = smaller.trim_report.families
    before, after = sum(f.before for f in families), sum(f.after for f in families)
    assert all(1 <= f.after <= f.before for f in families)
    assert abs(after - 0.5 * before) <= 1  # every family keeps one unit at least
    mask = oracle.masked(case, oracle.survivors(case.network(), smaller))
    assert oracle.difference(smaller, mask, case.example()) <= oracle.BOUND


def left_of(module: nn.Module, case: Case, **options: Any) -> dict[str, int]:
    report = trim(module, case.example(), keep=0.5, **options).trim_report
    return {family.name: family.after for family in report.families}  # type: ignore[union-attr]


def test_a_global_ranking_is_not_the_local_one() -> None:
    """One layer speaks ten times as loud as another: unscaled, it keeps more; scaled, loudness means nothing."""
    case = NAMED["causal dilated Conv1d"]
    plain, loud = case.network(), case.network()
    with torch.no_grad():
        loud.one.weight.mul_(10.0)  # type: ignore[union-attr,operator]
        loud.three.weight.mul_(0.1)  # type: ignore[union-attr,operator]
    after = left_of(loud, case, scope="global", scaling="none")
    assert after["one"] > 8 > after["three"]
    assert left_of(loud, case, scope="global") == left_of(plain, case, scope="global")
    assert set(left_of(loud, case).values()) == {8}


def test_the_least_worthy_units_go() -> None:
    """Eight channels are ten times as large in all that makes and reads them."""
    case = NAMED["causal dilated Conv1d"]
    module = case.network()
    worthy = torch.tensor([0, 2, 3, 7, 8, 12, 14, 15])
    with torch.no_grad():
        for value in (module.one.weight, module.one.bias, module.two.weight.transpose(0, 1)):  # type: ignore
            value[worthy] *= 10.0
    smaller = trim(module, case.example(), keep=0.5)
    assert oracle.survivors(module, smaller)["one.weight", 0].tolist() == worthy.tolist()


def test_an_imaginary_weight_counts() -> None:
    """Half the columns of a complex matrix have large imaginary parts and nearly no real ones."""
    case = NAMED["complex weights"]
    module = case.network()
    worthy = torch.tensor([0, 2, 3, 7, 8, 12, 14, 15])
    with torch.no_grad():
        module.mix[:, worthy] = torch.randn(16, 8) * 10j + module.mix[:, worthy].real * 1e-3  # type: ignore[index]
    smaller = trim(module, case.example(), keep=0.5)
    assert oracle.survivors(module, smaller)["mix", 1].tolist() == worthy.tolist()


@pytest.mark.parametrize("multiple", [4, 8])
def test_widths_are_rounded_for_simd(multiple: int) -> None:
    case = NAMED["causal dilated Conv1d"]
    smaller = trim(case.network(), case.example(), keep=0.4, multiple_of=multiple)
    assert all(family.after % multiple == 0 and family.after >= multiple for family in smaller.trim_report.families)
    mask = oracle.masked(case, oracle.survivors(case.network(), smaller))
    assert oracle.difference(smaller, mask, case.example()) <= oracle.BOUND


@pytest.mark.parametrize("name", ["GRU, 2 layers", "gate by chunk", "weight_norm old, ConvTranspose1d", "literal view"])
def test_a_trimmed_network_is_trimmed_again(name: str) -> None:
    case = NAMED[name]
    once = trim(case.network(), case.example(), keep=0.5)
    twice = trim(once, case.example(), keep=0.5)
    assert oracle.is_width(case, twice, case.narrow(0.25))
    mask = oracle.masked(case, oracle.survivors(case.network(), twice))
    assert oracle.difference(twice, mask, case.example()) <= oracle.BOUND


def test_the_same_request_gives_the_same_network() -> None:
    case = NAMED["U-Net"]
    one, other = (trim(case.network(), case.example(), keep=0.5).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
