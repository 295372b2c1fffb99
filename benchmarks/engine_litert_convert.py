"""Networks of the benchmark for LiteRT, written by a Python that has its converter: `python THIS NAME FILE`.

Prints where the runtime's library is. It runs apart from everything else, since the converter needs other versions of
packages than the project does.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from engine_nets import NETS, Explicit  # noqa: E402


def main() -> int:
    import litert_torch

    name, file = sys.argv[1:]
    net = next(net for net in NETS if net.name == name)
    module = net.build()
    states = [torch.zeros_like(state) for state in module.states()]
    with torch.no_grad():
        litert_torch.convert(Explicit(module).eval(), (torch.zeros(net.shape), *states)).export(file)
    found = find_spec("ai_edge_litert")
    assert found is not None and found.origin is not None
    print(Path(found.origin).parent / "libLiteRt.so")
    return 0


if __name__ == "__main__":
    sys.exit(main())
