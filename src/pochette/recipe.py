"""Recipes, frozen dataclasses that describe a thing completely, and families, where things are found by name.

A recipe has one meaning in four dresses: Python value, command-line flags (tyro reads the fields and their docstrings),
JSON, and a signature that names the folder where its result lives. A family finds its members by importing every module
of one package, so that adding a member is adding one file; other distributions join through the entry-point group
`pochette.FAMILY`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pochette.errors import RecipeError, UnknownNameError

T = TypeVar("T")
_SINGULAR = {"criteria": "criterion", "analyses": "analysis"}
"""Of names of families that do more than take an s."""


class Family(Generic[T]):
    """Members of one kind, found by name.

    Args:
        name: plural name, as in `pochette list NAME` ("models").
        package: the package whose modules hold the members, one a file; imported on first use.
    """

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self.package = package
        self._members: dict[str, T] = {}
        self._loaded = False

    def member(self, name: str) -> Callable[[T], T]:
        """Register what is decorated (a class or a function) under `name`.

        Args:
            name: how it is called on the command line.

        Returns:
            the decorator; it gives its argument back unchanged.
        """
        return lambda member: self.add(name, member)

    def add(self, name: str, member: T) -> T:
        """Register a member and give it back.

        Args:
            name: how it is called on the command line.
            member: a class, function or value with a docstring (its help and its page).

        Returns:
            the member.

        Raises:
            ValueError: the name is taken by another member, or the member has no docstring.
        """
        known = self._members.get(name)
        if known is not None and known is not member and _origin(known) != _origin(member):
            raise ValueError(f"{self.name}: the name {name!r} is taken twice")
        if not (getattr(member, "__doc__", None) or "").strip():
            raise ValueError(f"{self.name}: give {name!r} a docstring; it becomes its help and its page")
        self._members[name] = member
        return member

    def remove(self, name: str) -> None:
        """Forget a member (for tests that add one)."""
        self._members.pop(name, None)

    def load(self) -> None:
        """Import every module of the family's package and every plug-in, once."""
        if self._loaded:
            return
        self._loaded = True
        try:
            package = importlib.import_module(self.package)
            for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
                importlib.import_module(f"{self.package}.{module}")
            for plugin in entry_points(group=f"pochette.{self.name}"):
                plugin.load()
        except BaseException:
            # Whoever asks again gets the same error, not a family with members missing.
            self._loaded = False
            raise

    def names(self) -> list[str]:
        """All names, sorted."""
        self.load()
        return sorted(self._members)

    def __contains__(self, name: str) -> bool:
        self.load()
        return name in self._members

    def items(self) -> Iterator[tuple[str, T]]:
        """All (name, member) pairs, sorted by name."""
        for name in self.names():
            yield name, self._members[name]

    def __getitem__(self, name: str) -> T:
        """The member of that name.

        Args:
            name: as registered.

        Returns:
            the member.

        Raises:
            UnknownNameError: there is none; the message names the nearest ones.
        """
        self.load()
        if name in self._members:
            return self._members[name]
        hint = did_you_mean(name, self._members)
        noun = _SINGULAR.get(self.name) or self.name.removesuffix("s")
        raise UnknownNameError(
            f"There is no {noun} called {name!r}.",
            remedy=f"{hint}Known {self.name}: {', '.join(self.names())}.",
        )

    def help(self, name: str) -> str:
        """First line of the member's docstring."""
        return (self[name].__doc__ or "").strip().splitlines()[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A guess at what was meant by an unknown name, with a space behind it; empty where nothing is near."""
    # Capitals and underscores are how others write the same names.
    plain = {other.lower().replace("_", "-"): other for other in known}
    near = [plain[match] for match in difflib.get_close_matches(name.lower().replace("_", "-"), list(plain), n=2)]
    return f"Did you mean {' or '.join(near)}? " if near else ""


def _origin(member: object) -> object:
    """What stays the same when a module is read again: where a class or function stands; a value is only itself."""
    name = getattr(member, "__qualname__", None)
    return id(member) if name is None else (getattr(member, "__module__", None), name)


def check_ranges(recipe: Any, **ranges: tuple[float, float]) -> None:
    """Refuse a recipe with a field outside its range, in the words of the command line.

    Args:
        recipe: a dataclass instance, usually from its `__post_init__`.
        **ranges: field name to lowest and highest value; None as a value passes, NaN does not.

    Raises:
        RecipeError: names the first such field and its range.
    """
    for name, (low, high) in ranges.items():
        value = getattr(recipe, name)
        if value is not None and not low <= value <= high:
            flag = f"--{name.replace('_', '-')}"
            raise RecipeError(
                f"{flag} is {value}, which is outside {low:g} to {high:g}.",
                remedy=f"Give {flag} a value in that range.",
            )


def to_json(recipe: Any) -> dict[str, Any]:
    """A recipe as plain data, defaults left out, so that a new field with a default changes no signature.

    Args:
        recipe: a dataclass instance, possibly nested.

    Returns:
        field names and values that differ from their defaults.
    """
    return {name: _plain(value) for name, value in _chosen(recipe)}


def _chosen(recipe: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of the fields that differ from their defaults."""
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if value != default:
            yield field.name, value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _described(value: Any) -> Any:
    """Plain data in which every recipe, however deep, carries the name of its kind."""
    if dataclasses.is_dataclass(value):
        return {type(value).__name__: {name: _described(item) for name, item in _chosen(value)}}
    if isinstance(value, (tuple, list)):
        return [_described(item) for item in value]
    return value


def from_json(cls: type[T], data: dict[str, Any]) -> T:
    """The recipe that `to_json` wrote.

    Args:
        cls: the recipe's dataclass; its fields are plain values or tuples of them.
        data: field names and values; missing ones take their defaults.

    Returns:
        the recipe.

    Raises:
        UnknownNameError: a field that the class does not have.
    """
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise UnknownNameError(
                f"{cls.__name__} has no field {name!r}.",
                remedy=f"It was written by another version; known fields: {', '.join(sorted(known))}.",
            )
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def signature(*parts: Any) -> str:
    """A short name that two descriptions share only if they describe the same thing.

    Args:
        *parts: recipes, or plain JSON-able values.

    Returns:
        12 hexadecimal digits of the SHA-256 of the canonical JSON.
    """
    text = json.dumps([_described(part) for part in parts], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
