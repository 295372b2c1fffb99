"""Options that a verb has only once the command line has named a model or a method."""

from __future__ import annotations

from typing import Any

from tyro import MISSING

from pochette.cli.reducing import Reduce
from pochette.cli.training import Nothing, Train


def with_fields(verb: str, arguments: list[str]) -> tuple[Any, Any]:
    """The class of a verb with the options of the model or method that the command line names.

    Args:
        verb: "train" or "reduce".
        arguments: after the verb.

    Returns:
        the class to parse with, and the defaults; None for the class's own.

    Raises:
        ImportError: torch is not installed, and it is not just help that was asked for.
        UnknownNameError: there is no such method, or the model declares no such size.
    """
    helping = bool({"--help", "-h"} & set(arguments))
    try:
        from pochette.families import methods, models
        from pochette.lab.runs import sized
        from pochette.train.loop import Training

        known = (models if verb == "train" else methods).names()
    except ImportError:
        if helping:
            return (Train[Nothing, Nothing] if verb == "train" else Reduce[Nothing]), None
        raise
    if verb == "reduce":
        return Reduce[methods[_option(arguments, "--method", "lottery")]], None  # type: ignore[misc]
    name = next((argument for argument in arguments if argument in known), "")
    if not name:
        return Train[Nothing, Training], None
    recipe, training = sized(models[name], _option(arguments, "--size", "small")), Training()
    # tyro takes a default instance for the defaults of its fields, and asks for what is marked missing.
    default = Train(model=MISSING, sounds=MISSING, recipe=recipe, training=training)
    return Train[type(recipe), Training], default  # type: ignore[misc]


def _option(arguments: list[str], name: str, default: str) -> str:
    """The value of an option, found before the options can be parsed."""
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return default
