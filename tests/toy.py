"""A hand-written engine that obeys the interface: tests of builders, players and pages need no training."""

from __future__ import annotations

import numpy as np

from pochette.control import Control
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource, glue

HOP, RATE = 48, 48000

HEADER = f"""#ifndef TOY_H
#define TOY_H
#define toy_SAMPLE_RATE_HZ {RATE}
#define toy_HOP_SAMPLES {HOP}
#define toy_CONTROLS 2
#define toy_LATENCY_SAMPLES 0
typedef struct {{ float phase, step, gain; int position; }} toy_state;
void toy_reset(toy_state *s);
void toy_process(toy_state *s, const float *controls, float *audio, int samples);
#endif
"""

BODY = """#include "toy.h"
void toy_reset(toy_state *s) { s->phase = 0.0f; s->step = 0.0f; s->gain = 0.0f; s->position = 0; }
void toy_process(toy_state *s, const float *controls, float *audio, int samples)
{
    for (int i = 0; i < samples; i++) {
        if (s->position == 0) {
            s->step = controls[0] * (1.0f / (float)toy_SAMPLE_RATE_HZ);
            s->gain = (controls[1] + 80.0f) * (1.0f / 80.0f);
        }
        s->position = (s->position + 1) % toy_HOP_SAMPLES;
        s->phase += s->step;
        if (s->phase >= 1.0f) s->phase -= 1.0f;
        /* a parabola a half cycle: nearly a sine, and exact in float on every machine */
        const float x = s->phase < 0.5f ? s->phase : s->phase - 0.5f;
        const float y = 16.0f * x * (0.5f - x);
        audio[i] = s->gain * (s->phase < 0.5f ? y : -y);
    }
}
"""

CONTROLS = (
    Control("pitch_hz", "Hz", 20.0, 8000.0, 440.0, "logarithmic", "pitch"),
    Control("loudness_db", "dB", -80.0, 0.0, -20.0, "linear", "loudness"),
)


def toy_source() -> EngineSource:
    """A parabolic oscillator with pitch and loudness, 48 samples a frame at 48 kHz."""
    return EngineSource(
        name="toy",
        files={"toy.h": HEADER, "toy.c": BODY, "glue.c": glue("toy")},
        controls=CONTROLS,
        sample_rate_hz=RATE,
        hop_samples=HOP,
        latency_samples=0,
    )


def toy_audio(controls: FloatArray) -> FloatArray:
    """What the toy must say: the same arithmetic in numpy, (frame, control) to (frame * hop,)."""
    phase, out = np.float32(0), []
    for pitch, loudness in controls.astype(np.float32):
        step = pitch * np.float32(1 / RATE)
        gain = (loudness + np.float32(80)) * np.float32(1 / 80)
        for _ in range(HOP):
            phase = np.float32(phase + step)
            if phase >= 1:
                phase = np.float32(phase - np.float32(1))
            x = phase if phase < 0.5 else np.float32(phase - np.float32(0.5))
            y = np.float32(16) * x * (np.float32(0.5) - x)
            out.append(gain * (y if phase < 0.5 else -y))
    return np.array(out, np.float32)
