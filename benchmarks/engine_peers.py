"""Everything that the engine benchmark times: our builds, PyTorch, and the runtimes that can be had."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from engine_build import GLUE, SMALL, MissingError, Native, address_of, cplusplus, harness, load, native, scratch
from engine_nets import Explicit, FloatArray, Net, Streaming

from pochette.engine.build import OPTIMISATION
from pochette.engine.compiled import Engine, compile_engine
from pochette.engine.precision import Precision


class Runner(Protocol):
    """A network that can be compared and timed."""

    def outputs(self) -> FloatArray:
        """What it makes of the test signal, from silence."""

    def seconds(self, calls: int) -> float:
        """Time of so many calls."""


@dataclass
class Candidate:
    """A network on its way to the peers: built, captured and exported once for all of them."""

    net: Net
    module: Streaming
    engine: Engine | None
    refusal: str
    """Why there is no engine; empty if there is one."""
    out_shape: tuple[int, ...]
    _onnx: dict[str, Path] = field(default_factory=dict)

    @property
    def out_floats(self) -> int:
        """Floats that a call makes."""
        return int(np.prod(self.out_shape))

    def sources(self) -> dict[str, str]:
        """Our C, behind the functions of `GLUE`.

        Raises:
            MissingError: the network could not be made C.
        """
        if self.engine is None:
            raise MissingError(self.refusal)
        return {**self.engine.sources, "glue.c": GLUE}

    def onnx(self) -> Path:
        """The network as ONNX, states as inputs and outputs; recurrent layers as one node each."""
        if "path" not in self._onnx:
            self._onnx["path"] = export_onnx(self.module, self.net)
        return self._onnx["path"]


def export_onnx(module: Streaming, net: Net) -> Path:
    """Write a network as ONNX.

    PyTorch's older exporter is asked: it keeps a GRU or LSTM as the one node that the runtimes have a kernel for.
    """
    path = scratch() / f"{net.name}.onnx"
    states = [torch.zeros_like(state) for state in module.states()]
    count = len(states) + 1
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Explicit(module), (torch.zeros(net.shape), *states), str(path), dynamo=False, opset_version=17,
            input_names=[f"in{i}" for i in range(count)], output_names=[f"out{i}" for i in range(count)],
        )  # fmt: skip
    return path


# -- ours --------------------------------------------------------------------------------------------------------------


def ours(compiler: str, optimisation: tuple[str, ...] = OPTIMISATION) -> Callable[[Candidate], Runner]:
    """Our generated C, by a compiler."""
    return lambda made: native(load(made.sources(), compiler, optimisation), made.net, made.out_floats)


def unset(made: Candidate) -> Runner:
    """Our generated C in a host that sets no mode for numbers too small to be normal: each call sets it and back."""
    runner = native(load(made.sources(), "cc", OPTIMISATION), made.net, made.out_floats)
    runner.flush = False
    return runner


def fewer_bits(precision: Precision) -> Callable[[Candidate], Runner]:
    """Our generated C with matrices stored in fewer bits, by the system's compiler."""

    def prepare(made: Candidate) -> Runner:
        made.module.reset()  # an engine begins with the state at capture
        engine = compile_engine(made.module, (torch.zeros(made.net.shape),), precision=precision)
        if all(line.precision == "float32" for line in engine.precision_report):
            raise MissingError("none of its matrices is one of a linear or recurrent layer that would gain")
        return native(load({**engine.sources, "glue.c": GLUE}), made.net, made.out_floats)

    return prepare


# -- PyTorch -----------------------------------------------------------------------------------------------------------


class Eager:
    """PyTorch, operator by operator, called from Python."""

    def __init__(self, made: Candidate) -> None:
        self.module = made.module
        self.inputs = [torch.from_numpy(row).reshape(made.net.shape) for row in made.net.signal()]

    @torch.inference_mode()
    def outputs(self) -> FloatArray:
        """What it makes of the test signal, from silence."""
        self.module.reset()
        return np.stack([self.module(x).flatten().numpy().copy() for x in self.inputs])

    @torch.inference_mode()
    def seconds(self, calls: int) -> float:
        """Time of so many calls."""
        module, inputs, steps = self.module, self.inputs, len(self.inputs)
        start = time.perf_counter()
        for i in range(calls):
            module(inputs[i % steps])
        return time.perf_counter() - start


class Script:
    """TorchScript, traced and frozen, states handed round; called from Python, which adds a few microseconds."""

    def __init__(self, made: Candidate) -> None:
        self.inputs = [torch.from_numpy(row).reshape(made.net.shape) for row in made.net.signal()]
        self.zeros = [torch.zeros_like(state) for state in made.module.states()]
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                Explicit(made.module).eval(), (self.inputs[0], *self.zeros)
            )
            self.network = torch.jit.freeze(traced)
        self.states = self.zeros

    @torch.inference_mode()
    def outputs(self) -> FloatArray:
        """What it makes of the test signal, from silence."""
        states, made = self.zeros, []
        for x in self.inputs:
            y, *states = self.network(x, *states)
            made.append(y.flatten().numpy().copy())
        return np.stack(made)

    @torch.inference_mode()
    def seconds(self, calls: int) -> float:
        """Time of so many calls."""
        network, inputs, steps, states = self.network, self.inputs, len(self.inputs), self.states
        start = time.perf_counter()
        for i in range(calls):
            _, *states = network(inputs[i % steps], *states)
        took = time.perf_counter() - start
        self.states = states
        return took


# -- runtimes with a C interface ---------------------------------------------------------------------------------------


def shapes_of(made: Candidate) -> tuple[Any, ...]:
    """Count, ranks and shapes of the inputs, rank and shape of the signal out: as the C harnesses take them."""
    shapes = [made.net.shape, *(tuple(state.shape) for state in made.module.states())]
    sizes = [size for shape in shapes for size in shape]
    return (
        ctypes.c_size_t(len(shapes)), (ctypes.c_size_t * len(shapes))(*map(len, shapes)),
        (ctypes.c_int64 * len(sizes))(*sizes), ctypes.c_size_t(len(made.out_shape)),
        (ctypes.c_int64 * len(made.out_shape))(*made.out_shape),
    )  # fmt: skip


def opened(library: ctypes.CDLL, prefix: str, context: int | None, made: Candidate) -> Native:
    """A network that a C harness has opened.

    Raises:
        MissingError: it could not; with the runtime's reason.
    """
    if not context:
        reason = getattr(library, f"{prefix}_error")
        reason.restype = ctypes.c_char_p
        raise MissingError(f"it cannot run this network: {reason().decode(errors='replace')[:200]}")
    reset, failed = getattr(library, f"{prefix}_reset"), getattr(library, f"{prefix}_failed")
    return Native(
        address_of(getattr(library, f"{prefix}_call")), context, made.net.signal(), made.out_floats,
        lambda: reset(ctypes.c_void_p(context)), library, lambda: bool(failed(ctypes.c_void_p(context))),
    )  # fmt: skip


def _folder(package: str) -> Path:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingError(f"{package} is not installed (pip install 'pochette[bench]')")
    return Path(next(iter(found.submodule_search_locations)))


def onnx_runtime(made: Candidate) -> Runner:
    """ONNX Runtime through its C interface, all its graph optimisations on."""
    folder = _folder("onnxruntime")
    _folder("onnx")
    libraries = sorted((folder / "capi").glob("libonnxruntime.so*")) or sorted((folder / "capi").glob("*.dylib"))
    if not libraries:
        raise MissingError("this wheel of onnxruntime holds no library with a C interface")
    library = harness("onnxruntime.c", link=["-ldl"])
    library.ort_open.restype = ctypes.c_void_p
    context = library.ort_open(str(libraries[0]).encode(), str(made.onnx()).encode(), *shapes_of(made), 0)
    return opened(library, "ort", context, made)


def open_vino(made: Candidate) -> Runner:
    """OpenVINO through its C interface, from the same ONNX file."""
    folder = _folder("openvino")
    _folder("onnx")
    libraries = sorted((folder / "libs").glob("libopenvino_c.so*"))
    if not libraries:
        raise MissingError("this wheel of openvino holds no library with a C interface")
    library = harness(
        "openvino.c", warnings=["-std=gnu99", "-w"], extra=["-isystem", str(folder / "include")],
        link=[str(libraries[0]), f"-Wl,-rpath,{folder / 'libs'}"],
    )  # fmt: skip
    library.ov_open.restype = ctypes.c_void_p
    context = library.ov_open(str(made.onnx()).encode(), *shapes_of(made))
    return opened(library, "ov", context, made)


def execu_torch(made: Candidate) -> Runner:
    """ExecuTorch with the XNNPACK backend through its C++ interface; the state lies in the program."""
    folder = _folder("executorch")
    # What no release before had: a wheel with the runtime's own libraries.
    names = ["", "_threadpool", "_backend_xnnpack", "_kernels_optimized"]
    libraries = [folder / "lib" / f"libexecutorch{name}.so" for name in names]
    if not all(map(Path.exists, libraries)):
        raise MissingError("this wheel of executorch holds no library of its runtime (1.5 does)")
    types = folder / "include" / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    flags = ["-DC10_USING_CUSTOM_GENERATED_MACROS", f"-I{folder / 'include'}", f"-I{types}"]
    shape = made.net.shape
    with silence():
        program = str(_export_executorch(made)).encode()
        library = cplusplus("executorch.cpp", flags, libraries)
        library.et_open.restype = ctypes.c_void_p
        context = library.et_open(program, (ctypes.c_int64 * len(shape))(*shape), ctypes.c_size_t(len(shape)))
    return opened(library, "et", context, made)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing reaches the standard error, from C++ neither: the runtime tells there how it counted the cores."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _export_executorch(made: Candidate) -> Path:
    """The network as a program of ExecuTorch."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    path = scratch() / f"{made.net.name}.pte"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(made.module, (torch.zeros(made.net.shape),))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)
    return path


@dataclass(frozen=True)
class Peer:
    """A column of the benchmark."""

    name: str
    title: str
    prepare: Callable[[Candidate], Runner]
    package: str = ""
    """Whose version is told."""


PEERS = [
    Peer("cc", "ours, cc", ours("cc")),
    Peer("cc-os", "ours, cc -Os", ours("cc", SMALL)),
    Peer("cc-unset", "ours, cc, mode not set", unset),
    Peer("clang", "ours, clang", ours("clang")),
    Peer("clang-os", "ours, clang -Os", ours("clang", SMALL)),
    Peer("cc-bfloat16", "ours, bfloat16", fewer_bits("bfloat16")),
    Peer("cc-float16", "ours, float16", fewer_bits("float16")),
    Peer("cc-int8", "ours, int8", fewer_bits("int8")),
    Peer("onnxruntime", "ONNX Runtime", onnx_runtime, "onnxruntime"),
    Peer("openvino", "OpenVINO", open_vino, "openvino"),
    Peer("executorch", "ExecuTorch", execu_torch, "executorch"),
    Peer("torchscript", "TorchScript", Script, "torch"),
    Peer("torch", "PyTorch", Eager, "torch"),
]
"""The columns, in the order of the page."""


def versions(peers: Mapping[str, Peer]) -> dict[str, str]:
    """Versions of the packages that were asked for and are here."""
    found = {}
    for package in dict.fromkeys(peer.package for peer in peers.values() if peer.package):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
