"""What every model costs at its declared sizes, counted on its graph and kept, since counting all takes a minute.

`figures.json` beside this file holds what was counted last, each size with the signature of its recipe; a size that is
not there, or whose recipe has changed, is counted when it is asked for. `python -m pochette.lab.figures` counts all
anew, and a test holds the file against the graphs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pochette.families import models
from pochette.recipe import signature

STORED = Path(__file__).with_suffix(".json")
SIZES = ("small", "paper")
"""That every model declares: what trains here, and what was published."""


def figures_of(name: str, tell: Callable[[str], None] | None = None) -> dict[str, dict[str, Any]]:
    """A model's figures at its small and its published size.

    Args:
        name: registered.
        tell: told what is counted, where that takes its seconds.

    Returns:
        size to parameters, operations per second of audio, bytes, rates and latency.

    Raises:
        UnknownNameError: no such model.
        ExportError: it cannot be captured.
    """
    member, known = models[name], _stored().get(name, {})
    declared = [size for size in SIZES if size in getattr(member, "SIZES", ())]
    found = {}
    for size in declared:
        recipe = member.sized(size)
        kept = known.get(size)
        if kept is None or kept["signature"] != signature(recipe):
            if tell:
                tell(f"{name} {size}")
            kept = counted(recipe)
        found[size] = kept
    return found


def counted(recipe: Any) -> dict[str, Any]:
    """Figures of one recipe, from the graph of its step.

    Args:
        recipe: of a model.

    Returns:
        plain data.

    Raises:
        ExportError: the model cannot be captured.
    """
    from pochette.measure import profile_model
    from pochette.models.through import Listener

    model = recipe.build()
    through = model.through_samples if isinstance(model, Listener) else None
    profile, lead = profile_model(model), model.lead_samples
    rate = profile.calls_per_second or 0.0
    return {
        "signature": signature(recipe),
        "mode": model.mode,
        "sample_rate_hz": model.sample_rate_hz,
        "hop_samples": model.hop_samples,
        "latency_samples": model.latency_samples,
        "latency_ms": round(1000 * model.latency_samples / model.sample_rate_hz, 3),
        # From a key to its sound, where players need not wait for all of that.
        **({"key_ms": round(1000 * (model.latency_samples - lead) / model.sample_rate_hz, 3)} if lead else {}),
        # Of models that are played by sound too: from sound in to sound out.
        **({"through_ms": round(1000 * through / model.sample_rate_hz, 3)} if through else {}),
        "parameters": profile.parameters,
        # Encoders, critics and teachers among them, which what plays can do without.
        "trained_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs_per_second": round(profile.macs * rate),
        "transcendental_per_second": round(profile.cost.transcendental * rate),
        "fft_per_second": round(profile.cost.fft * rate),
        "weight_bytes": profile.weight_bytes,
        "state_bytes": profile.state_bytes,
        "obtained": "counted",
    }


def _stored() -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}


def main() -> None:
    """Count everything anew and keep it."""
    found: dict[str, dict[str, Any]] = {}
    for name, member in models.items():
        found[name] = {size: counted(member.sized(size)) for size in SIZES if size in getattr(member, "SIZES", ())}
        for size, row in found[name].items():
            print(f"{name} {size}: {row['parameters']:,} parameters, {row['macs_per_second']:,} MAC/s", flush=True)
    STORED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
