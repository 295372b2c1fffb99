"""From graph to C99, and running it natively, in the sandbox and in emulators."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pochette.engine.compiled import Engine, compile_engine

__all__ = ["Engine", "compile_engine"]


def __getattr__(name: str) -> Any:
    # Found when asked for: the light player runs engines without torch, from which these are made.
    if name in __all__:
        from pochette.engine import compiled

        return getattr(compiled, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
