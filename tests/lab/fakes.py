"""A result as a real job would give it, and sounds to go with it, made up."""

from typing import Any

import numpy as np

from pochette.lab.report import Clip
from pochette.lab.result import (
    Anchor,
    CorpusFacts,
    EngineFacts,
    GoldenCheck,
    MakeResult,
    PlayingFacts,
    Stage,
    TrimPoint,
    VerdictFacts,
)
from pochette.sound.audio import FloatArray


def layer(name: str, parameters: int, macs: int) -> dict[str, Any]:
    return {"layer": name, "parameters": parameters, "cost": {"macs": macs, "pointwise": 128, "transcendental": 1}}


def profile(width: int, hidden: int) -> dict[str, Any]:
    layers = [
        layer("", 0, 0),
        layer("model.network.pitch_stack.0", 2 * width, width),
        layer("model.network.pitch_stack.3", width * width + width, width * width),
        layer("model.network.loudness_stack.0", 2 * width, width),
        layer("model.network.loudness_stack.3", width * width + width, width * width),
        layer("model.network.gru", 3 * hidden * (2 * width + hidden + 2), 3 * hidden * (2 * width + hidden)),
        layer("model.network.out_stack.0", (2 * width + hidden + 1) * width, (2 * width + hidden) * width),
        layer("model.network.head", 166 * (width + 1), 166 * width),
        layer("model.synthesiser", 0, 16_640),
    ]
    macs, parameters = sum(x["cost"]["macs"] for x in layers), sum(x["parameters"] for x in layers)
    return {
        "parameters": parameters,
        "cost": {"macs": macs, "pointwise": 10_982, "transcendental": 7_390},
        "weight_bytes": 4 * parameters + 34_000,
        "state_bytes": 920 + 4 * hidden,
        "peak_activation_bytes": 3600,
        "layers": layers,
        "unknown": [],
        "calls_per_second": 250.0,
        "macs_per_second": 250.0 * macs,
        "obtained": "counted",
    }


def curve(start: float, end: float, steps: int, seed: int) -> tuple[tuple[int, float | None, float | None], ...]:
    noise = np.random.default_rng(seed).normal(0, 0.04, steps)
    line = end + (start - end) * np.exp(-np.linspace(0, 5, steps))
    return tuple(
        (20 * i, float(line[i] * (1 + noise[i])), float(1.05 * line[i]) if i % 10 == 0 else None) for i in range(steps)
    )


CORPUS = CorpusFacts(
    "alto-sax",
    "b7c1e0d95f3a4e21",
    52,
    204.3,
    ("c4_f.flac", "d3_p.flac", "ab3_f.flac", "g2_p.flac"),
    "Four pitches, drawn with the seed; no sound of these pitches was learnt from.",
    ("notes.txt.wav: not a sound", "hum_01.wav: no pitch was found in it"),
)
ANCHORS = (
    Anchor("silence", 21.4, "Nothing at all."),
    Anchor("white noise", 14.2, "Noise with the loudness of the recording."),
    Anchor("mean spectrum", 6.31, "The average tone that is nearest to all sounds."),
    Anchor("another take", 4.4, "The same note played once more, softly, brought to one loudness."),
    Anchor("dense", 3.59, "The network before trimming."),
    Anchor("trimmed", 3.68, "The network that is in the instrument."),
    Anchor("floor", 3.02, "The synthesiser fitted to each recording directly."),
)
METRICS = {
    "multiscale_spectral": {"mean spectrum": 6.31, "dense": 3.59, "trimmed": 3.68, "floor": 3.02},
    "log_spectral_db": {"mean spectrum": 9.8, "dense": 6.41, "trimmed": 6.6, "floor": 4.9},
    "pitch_cents": {"mean spectrum": 1.2, "dense": 1.1, "trimmed": 1.3},
    "pitch_accuracy": {"mean spectrum": 0.998, "dense": 0.999, "trimmed": 0.999, "floor": 1.0},
}
ENGINE = EngineFacts(
    state_bytes=1072,
    source_bytes=318_000,
    wasm_bytes=148_000,
    flash_bytes=183_000,
    ram_bytes=201_000,
    instructions_per_second=48.3e6,
    instructions_per_second_before=151.0e6,
    network_instructions_per_second=13.6e6,
    network_instructions_per_second_before=116.3e6,
    host_real_time_factor=0.0068,
    host_real_time_factor_before=0.0151,
    host_network_share=0.18,
    host_network_share_before=0.64,
    counted_for="Cortex-M7",
    method="counted one by one while the engine played the golden curve in the unicorn emulator.",
)
VERDICT = VerdictFacts(
    True,
    (),
    (
        "It takes 38.3% of the 512 KB of RAM.",
        "It takes 2.3% of the 7.75 MB of flash.",
        "It takes 20.1% of the 240 million instructions per second.",
    ),
    ("Keep 5 % of the network for three voices instead of two.",),
)
GOLDEN = (
    GoldenCheck("C on this machine", 3.1e-6, 4.0, (1, 7, 64, 1000), True, "", 0.31),
    GoldenCheck("WebAssembly", 3.1e-6, 4.0, (128,), True, "", 0.31),
    GoldenCheck("aarch64", 3.4e-6, 4.0, (64,), True, "emulated", 0.31),
    GoldenCheck("Cortex-M7", 4.9e-6, 2.0, (48,), True, "emulated", 0.31),
    GoldenCheck("Cortex-M7 firmware", None, None, (), None, "qemu-system-arm is not installed here"),
)
STAGES = (
    Stage("listening to the folder", 21.0),
    Stage("learning", 183.0),
    Stage("trimming", 246.0),
    Stage("anchors", 64.0),
    Stage("engine", 18.0),
    Stage("verifying", 31.0),
)


def full_result() -> MakeResult:
    before, after = profile(128, 128), profile(38, 38)
    distances = {0.6: 3.61, 0.4: 3.57, 0.28: 3.59, 0.16: 3.63, 0.1: 3.68, 0.05: 3.86}
    points = tuple(
        TrimPoint(
            "trimmed" if share == 0.1 else f"{share:.0%} left",
            round(265_000 * share) + 2000,
            69.9e6 * share,
            distance * 1.02,
            distance,
            1200,
            41.0,
        )
        for share, distance in distances.items()
    )
    return MakeResult(
        name="alto-sax",
        title="Alto saxophone",
        created="2026-11-23T16:20:00+00:00",
        board="daisy-seed",
        board_title="Daisy Seed",
        model="ddsp",
        size="small",
        recipe={"model": {"kind": "ddsp", "hidden": 128, "stack_width": 128}, "steps": 4000, "criterion": "magnitude"},
        sample_rate_hz=16_000,
        hop_samples=64,
        latency_samples=64,
        seed=0,
        minutes=9.4,
        corpus=CORPUS,
        anchors=ANCHORS,
        metrics=METRICS,
        trimming=(TrimPoint("dense", 270_502, 69.9e6, 3.66, 3.59, 4000, 183.0), *points),
        learning={"learning": curve(12, 3.4, 200, 1), "after trimming": curve(5.2, 3.5, 60, 2)},
        profile_before=before,
        profile_after=after,
        engine=ENGINE,
        verdict=VERDICT,
        golden=GOLDEN,
        playing=PlayingFacts(0.9714, 1.8, 0.62, 35, "YIN"),
        stages=STAGES,
        next_command="pochette play alto-sax.pochette\npochette export alto-sax.pochette --shell web",
        versions={"pochette": "0.1.0", "torch": "2.8.0", "python": "3.11"},
    )


def sound(pitch_hz: float, tilt: float, seconds: float = 2.0, rate: int = 16_000, seed: int = 0) -> FloatArray:
    time = np.arange(round(seconds * rate)) / rate
    wobble = 1 + 0.004 * np.sin(2 * np.pi * 5 * time)
    phase = 2 * np.pi * pitch_hz * np.cumsum(wobble) / rate
    count = int(rate / 2 / pitch_hz)
    tone = sum(np.sin(k * phase) / k**tilt * np.exp(-0.15 * k * time) for k in range(1, count))
    noise = np.random.default_rng(seed).normal(0, 0.004, len(time))
    envelope = np.minimum(1, time / 0.08) * np.minimum(1, (seconds - time) / 0.3)
    return np.asarray((0.2 * tone + noise) * envelope, np.float32)


def clips(count: int = 3, rate: int = 16_000) -> list[Clip]:
    return [
        Clip(
            title,
            {
                "recording": sound(pitch, 1.0, rate=rate),
                "average tone": sound(pitch, 2.2, rate=rate, seed=1),
                "dense": sound(pitch, 1.05, rate=rate, seed=2),
                "trimmed": sound(pitch, 1.15, rate=rate, seed=3),
            },
            rate,
        )
        for title, pitch in [("c4_f.flac", 261.6), ("d3_p.flac", 146.8), ("ab3_f.flac", 207.7)][:count]
    ]
