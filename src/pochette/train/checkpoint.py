"""Training states on disk: one safetensors file, written atomically, never a pickle."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pochette.errors import RunError

FORMAT_VERSION = 1


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts so that a crash at any moment leaves the old file or the new one, whole.

    Args:
        path: of the file.
        tensors: by name.
        facts: plain data that goes with them.

    Raises:
        RunError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps({"format_version": FORMAT_VERSION, **facts})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary, {"pochette": text})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunError(
            f"The checkpoint could not be written: {error}",
            where=str(path),
            remedy="Free some space or choose another folder with --out; what was saved before is untouched.",
        ) from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote.

    Args:
        path: of the file.

    Returns:
        tensors by name, and the facts.

    Raises:
        RunError: there is no such file, it is damaged, or a later version wrote it.
    """
    if not path.is_file():
        raise RunError("There is no checkpoint.", where=str(path), remedy="Train first: pochette train MODEL SOUNDS.")
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(json.loads((file.metadata() or {})["pochette"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise RunError(
            f"The checkpoint is damaged: {error}",
            where=str(path),
            remedy="Delete it; training starts again from there.",
        ) from error
    if facts.get("format_version", 0) > FORMAT_VERSION:
        raise RunError(
            f"The checkpoint has format {facts['format_version']}; this pochette reads up to {FORMAT_VERSION}.",
            where=str(path),
            remedy="Update pochette: pip install -U pochette.",
        )
    return tensors, facts


def pack_optimiser(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """An optimiser's per-parameter state as named tensors.

    Args:
        optimiser: over parameters in the order of `names`.
        names: of those parameters.

    Returns:
        "NAME|KEY" to tensor.
    """
    packed: dict[str, Tensor] = {}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        for key, value in optimiser.state.get(parameter, {}).items():
            packed[f"{name}|{key}"] = torch.as_tensor(value)
    return packed


def unpack_optimiser(optimiser: torch.optim.Optimizer, names: list[str], packed: dict[str, Tensor]) -> None:
    """Put back what `pack_optimiser` took out.

    Args:
        optimiser: fresh, over parameters in the order of `names`.
        names: of those parameters.
        packed: "NAME|KEY" to tensor.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in packed.items():
        name, _, field = key.rpartition("|")
        by_name.setdefault(name, {})[field] = value
    for name, parameter in zip(names, parameters, strict=True):
        if name in by_name:
            # Copies: the optimiser writes to its state in place.
            optimiser.state[parameter] = {key: value.clone() for key, value in by_name[name].items()}
