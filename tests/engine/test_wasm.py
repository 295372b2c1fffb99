"""The sandbox: honest engines play, hostile ones are stopped with a reason."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest
import wasmtime

from pochette.engine import wasm as sandbox
from pochette.engine.runner import FloatArray, run_frames
from pochette.engine.wasm import WasmModule, WasmRunner
from pochette.errors import InstrumentError, ShapeError
from tests.toy import HOP, toy_audio


def hostile(
    *,
    imports: str = "",
    info: str = "",
    process: str = "",
    reset: str = "",
    state: int = 1024,
    audio: int = 8192,
    memory: str = "1",
    start: str = "",
) -> bytes:
    """An engine in WebAssembly text, honest but for what is given."""
    answers = [1, 48000, 48, 2, 64, 512, 0]
    cases = "".join(
        f"(if (i32.eq (local.get 0) (i32.const {key})) (then (return (i32.const {value}))))"
        for key, value in enumerate(answers)
    )
    text = f"""(module {imports}
      (memory (export "memory") {memory})
      (func (export "pochette_info") (param i32) (result i32) {info} {cases} (i32.const -1))
      (func (export "pochette_reset") (param i32) {reset})
      (func (export "pochette_process") (param i32 i32 i32 i32) {process})
      (func (export "pochette_arena_state") (result i32) (i32.const {state}))
      (func (export "pochette_arena_controls") (result i32) (i32.const 4096))
      (func (export "pochette_arena_audio") (result i32) (i32.const {audio}))
      {start})"""
    return bytes(wasmtime.wat2wasm(text))


def claim(key: int, value: int) -> str:
    return f"(if (i32.eq (local.get 0) (i32.const {key})) (then (return (i32.const {value}))))"


LOOP = "(loop $l (br $l))"


@pytest.mark.parametrize("block", [None, 1, 7, 48, 1000])
def test_plays_the_toy_at_any_block_size(toy_wasm: bytes, curve: FloatArray, block: int | None) -> None:
    assert np.array_equal(run_frames(WasmRunner(toy_wasm), curve, block), toy_audio(curve))


def test_voices_of_one_module_are_independent(toy_wasm: bytes, curve: FloatArray) -> None:
    module = WasmModule(toy_wasm)
    first, second = WasmRunner(module), WasmRunner(module)
    first.process(curve[0], 777)
    assert np.array_equal(run_frames(second, curve), toy_audio(curve))


def test_one_long_call_equals_many(toy_wasm: bytes, curve: FloatArray) -> None:
    runner = WasmRunner(toy_wasm)
    long = runner.process(curve[3], 2000)
    runner.reset()
    assert np.array_equal(long, np.concatenate([runner.process(curve[3], 400) for _ in range(5)]))


def test_tells_its_numbers(toy_wasm: bytes) -> None:
    runner = WasmRunner(toy_wasm)
    assert (runner.sample_rate_hz, runner.hop_samples, runner.n_controls) == (48000, HOP, 2)
    assert (runner.latency_samples, runner.kind) == (0, "wasm")


def test_wrong_controls_are_refused(toy_wasm: bytes) -> None:
    runner = WasmRunner(toy_wasm)
    with pytest.raises(ShapeError):
        runner.process(np.zeros(3, np.float32), 10)
    with pytest.raises(ShapeError):
        runner.process(np.zeros(2, np.float32), 0)


def test_the_honest_skeleton_is_accepted() -> None:
    assert not WasmRunner(hostile(memory="1 1")).process(np.zeros(2, np.float32), 600).any()


@pytest.mark.parametrize(
    ("wasm", "says"),
    [
        (b"\0asm nonsense", "not valid"),
        (b"", "not valid"),
        (bytes(wasmtime.wat2wasm("(module)")), "lacks"),
        (hostile(imports='(import "wasi_snapshot_preview1" "fd_write" (func (param i32)))'), "reach outside"),
        (hostile(memory="65536"), "failed"),
        (hostile(info=claim(0, 99)), "version 99"),
        (hostile(info=claim(1, 7)), "SAMPLE_RATE_HZ = 7"),
        (hostile(info=claim(2, 0)), "HOP_SAMPLES = 0"),
        (hostile(info=claim(3, 1_000_000)), "CONTROLS = 1000000"),
        (hostile(info=claim(4, -5)), "STATE_BYTES = -5"),
        (hostile(info=claim(5, 1 << 20)), "BLOCK_SAMPLES"),
        (hostile(info=claim(6, -1)), "LATENCY_SAMPLES = -1"),
        (hostile(info=claim(4, 1 << 29)), "outside its memory"),
        (hostile(audio=65536 - 2047), "outside its memory"),
        (hostile(audio=65536 - 2044), "outside its memory"),
        (hostile(state=-4), "outside its memory"),
        (hostile(state=1025), "outside its memory"),
        (hostile(reset="unreachable"), "failed"),
    ],
)
def test_hostile_modules_are_refused(wasm: bytes, says: str) -> None:
    with pytest.raises(InstrumentError, match=says):
        WasmRunner(wasm)


def test_wrong_signatures_are_refused() -> None:
    other = hostile().replace(b"pochette_reset", b"pochette_other")
    with pytest.raises(InstrumentError, match="lacks pochette_reset"):
        WasmRunner(other)
    functions = "".join(f'(func (export "{name}"))' for name in sandbox.EXPORTS)
    with pytest.raises(InstrumentError):
        WasmRunner(bytes(wasmtime.wat2wasm(f'(module (memory (export "memory") 1) {functions})')))


@pytest.mark.parametrize("where", ["process", "reset", "info", "start"])
def test_endless_loops_are_stopped(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "CALL_LIMIT_S", 0.5)
    looping = {
        "process": hostile(process=LOOP),
        "reset": hostile(reset=LOOP),
        "info": hostile(info=LOOP),
        "start": hostile(start=f"(func $s {LOOP}) (start $s)"),
    }[where]
    with pytest.raises(InstrumentError, match="did not return"):
        WasmRunner(looping).process(np.zeros(2, np.float32), 1)


def test_memory_cannot_grow_past_the_limit() -> None:
    grow = "(if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable))"
    # It would trap if its memory grew.
    assert len(WasmRunner(hostile(process=grow)).process(np.zeros(2, np.float32), 1)) == 1


def test_memory_that_moves_is_followed() -> None:
    # The engine grows its memory, then writes its first control behind the audio's first sample.
    grow = "(drop (memory.grow (i32.const 16))) (f32.store (local.get 2) (f32.load (local.get 1)))"
    audio = WasmRunner(hostile(process=grow)).process(np.array([0.25, 0], np.float32), 4)
    assert audio[0] == 0.25


def test_runaway_recursion_is_stopped() -> None:
    recursion = "(call $r (local.get 0))"
    wasm = hostile(process="(call $r (i32.const 1))", start=f"(func $r (param i32) {recursion} {recursion})")
    with pytest.raises(InstrumentError, match="failed"):
        WasmRunner(wasm).process(np.zeros(2, np.float32), 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_still_stops_endless_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "CALL_LIMIT_S", 0.5)
    runner = WasmRunner(hostile(process=LOOP))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_stopped, [hostile(process=LOOP)]).get(timeout=30)
    assert runner.hop_samples == 48


def _stopped(wasm: bytes) -> bool:
    try:
        WasmRunner(wasm).process(np.zeros(2, np.float32), 1)
    except InstrumentError as error:
        return "did not return" in error.what
    return False
