"""Errors a person can mend."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from pochette import errors
from pochette.errors import PochetteError, SoundError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PochetteError)]


def test_says_what_where_and_what_to_do() -> None:
    assert (
        str(SoundError("It broke.", where="a.wav", remedy="Mend it."))
        == "It broke.\n  where: a.wav\n  remedy: Mend it."
    )
    assert str(SoundError("It broke.", remedy="Mend it.")) == "It broke.\n  remedy: Mend it."


@pytest.mark.parametrize("kind", KINDS)
def test_travels_between_processes(kind: type[PochetteError]) -> None:
    error = kind("It broke.", where="a.wav", remedy="Mend it.")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is kind and vars(again) == vars(error) and str(again) == str(error)
    assert str(copy.copy(error)) == str(copy.deepcopy(error)) == str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_when_it_is_raised_and_ends_the_program_with_an_error(kind: type[PochetteError]) -> None:
    assert kind.__doc__ and 0 < kind.exit_code < 128


def test_is_an_exception_like_any_other() -> None:
    def fail() -> None:
        raise SoundError("It broke.", remedy="Mend it.")

    with ThreadPoolExecutor(1) as pool, pytest.raises(PochetteError, match="It broke"):
        pool.submit(fail).result()
