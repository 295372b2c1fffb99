"""What the code generator hands on: C99 text and the few numbers a host must know. Torch-free.

Every engine, whatever model it came from, is reached through one small binary interface (the functions below, in
`glue.c` of every engine), so that the WebAssembly sandbox, the native library and the emulators are driven alike:

    int   pochette_info(int key)                                             see `InfoKey`
    void  pochette_reset(void *state)                                        back to silence, controls unread
    void  pochette_process(void *state, const float *controls, float *audio, int samples)
    void *pochette_arena_state(void)     static memory of one voice, for hosts that cannot hand in pointers of their
    void *pochette_arena_controls(void)  own (WebAssembly, emulators)
    void *pochette_arena_audio(void)     room for pochette_info(BLOCK_SAMPLES) samples

`process` may be called with any number of samples from 1 (up to BLOCK_SAMPLES where it writes into the arena); the
audio does not depend on how the calls cut it. Controls are read when a frame of `hop_samples` begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from pochette.control import Control
from pochette.engine.precision import Precision

ABI_VERSION = 1
BLOCK_SAMPLES = 512
"""Most samples that one call of `pochette_process` may ask for."""

EXPORTS = (
    "pochette_info",
    "pochette_reset",
    "pochette_process",
    "pochette_arena_state",
    "pochette_arena_controls",
    "pochette_arena_audio",
)
"""Names of the interface's functions."""


MOST_CONTROLS = 2048
"""Of an engine, and so of an instrument: a knob a bin where a spectrum is played."""


class InfoKey(IntEnum):
    """What `pochette_info` can be asked; it answers -1 to any other key."""

    ABI_VERSION = 0
    SAMPLE_RATE_HZ = 1
    HOP_SAMPLES = 2
    CONTROLS = 3
    STATE_BYTES = 4
    BLOCK_SAMPLES = 5
    LATENCY_SAMPLES = 6


@dataclass(frozen=True)
class EngineSource:
    """A generated engine: C99 files and what a host must know of it."""

    name: str
    """C identifier that prefixes every function of the engine."""
    files: dict[str, str] = field(repr=False)
    """File name to text; every `.c` file is to be compiled and linked together, `glue.c` among them."""
    controls: tuple[Control, ...]
    """In the order in which `pochette_process` reads them."""
    sample_rate_hz: int
    hop_samples: int
    """Samples made per frame, that is per reading of the controls."""
    latency_samples: int
    """From a change of a control to its full effect."""
    precision: Precision = "float32"
    """In which its large matrices are stored."""
    lead_samples: int = 0
    """Silence that every sound begins with, whole frames: players make it at once, so that a trigger sounds at once."""
    sound_frames: int | None = None
    """Frames of a sound that ends of itself, after those of the silence before it; what comes later costs next to
    nothing. None for an engine that plays on."""


def glue(name: str) -> str:
    """The text of `glue.c`, which puts the common interface over the engine's own functions.

    Args:
        name: the engine's prefix; `NAME.h` must declare `NAME_state`, `NAME_reset`, `NAME_process` and the macros
            `NAME_SAMPLE_RATE_HZ`, `NAME_HOP_SAMPLES`, `NAME_CONTROLS`, `NAME_LATENCY_SAMPLES`.

    Returns:
        C99 source.
    """
    return f"""/* The binary interface that every engine shares; see pochette.engine.source. */
#include "{name}.h"

int pochette_info(int key);
void pochette_reset(void *state);
void pochette_process(void *state, const float *controls, float *audio, int samples);
void *pochette_arena_state(void);
void *pochette_arena_controls(void);
void *pochette_arena_audio(void);

static {name}_state arena_state;
static float arena_controls[{name}_CONTROLS];
static float arena_audio[{BLOCK_SAMPLES}];

int pochette_info(int key)
{{
    switch (key) {{
    case {InfoKey.ABI_VERSION}: return {ABI_VERSION};
    case {InfoKey.SAMPLE_RATE_HZ}: return {name}_SAMPLE_RATE_HZ;
    case {InfoKey.HOP_SAMPLES}: return {name}_HOP_SAMPLES;
    case {InfoKey.CONTROLS}: return {name}_CONTROLS;
    case {InfoKey.STATE_BYTES}: return (int)sizeof({name}_state);
    case {InfoKey.BLOCK_SAMPLES}: return {BLOCK_SAMPLES};
    case {InfoKey.LATENCY_SAMPLES}: return {name}_LATENCY_SAMPLES;
    default: return -1;
    }}
}}

void pochette_reset(void *state) {{ {name}_reset(({name}_state *)state); }}

void pochette_process(void *state, const float *controls, float *audio, int samples)
{{
    {name}_process(({name}_state *)state, controls, audio, samples);
}}

void *pochette_arena_state(void) {{ return &arena_state; }}
void *pochette_arena_controls(void) {{ return arena_controls; }}
void *pochette_arena_audio(void) {{ return arena_audio; }}
"""
