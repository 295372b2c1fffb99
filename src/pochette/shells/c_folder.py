"""The engine as a folder of C99 that builds with `make` and proves itself against its golden sound."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import numpy as np

from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.engine.verify import allowed_error, peak_of
from pochette.families import shells
from pochette.instrument.file import Instrument
from pochette.shells.bundle import write_folder

GOLDEN_FRAMES = 400
"""Frames of the golden sound that go into the folder; more would only make it slow to compile."""


@shells.member("c")
def write(instrument: Instrument, out_dir: Path) -> Path:
    """C99 sources with a Makefile and an example that checks itself against the golden sound.

    Args:
        instrument: whose engine to write.
        out_dir: where the folder `NAME-c` goes; made if missing.

    Returns:
        the folder.

    Raises:
        InstrumentError: the folder cannot be written, or one of that name is not ours to replace.
    """
    source = instrument.source
    files = {
        **source.files,
        "golden.h": _golden_header(instrument),
        "main.c": _main(source),
        "Makefile": _makefile(source),
        "README.md": _readme(instrument),
    }
    return write_folder(Path(out_dir) / f"{instrument.name}-c", files)


def _golden_header(instrument: Instrument) -> str:
    frames = min(GOLDEN_FRAMES, len(instrument.golden_controls))
    audio = instrument.golden_audio[: frames * instrument.source.hop_samples]
    return f"""/* What the engine must sound like, for main.c to compare with. */
#ifndef GOLDEN_H
#define GOLDEN_H
#define GOLDEN_FRAMES {frames}
#define GOLDEN_TOLERANCE {allowed_error(peak_of(audio)):.9g}f
static const float golden_controls[] = {{
{_numbers(instrument.golden_controls[:frames])}
}};
static const float golden_audio[] = {{
{_numbers(audio)}
}};
#endif
"""


def _numbers(values: FloatArray) -> str:
    """Floats as C literals that read back to the very same bits."""
    literals = (np.format_float_scientific(value, unique=True) + "f" for value in values.ravel())
    return fill(", ".join(literals) or "0.0f", 110)


_WAV = """\
static void put(FILE *file, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) fputc((int)((value >> (8 * i)) & 0xFFu), file);
}

/* Mono, 16 bits, little-endian, whatever the machine. */
static void put_wav_header(FILE *file, uint32_t samples)
{
    fputs("RIFF", file);
    put(file, 36 + 2 * samples, 4);
    fputs("WAVEfmt ", file);
    put(file, 16, 4);
    put(file, 1, 2);
    put(file, 1, 2);
    put(file, RATE, 4);
    put(file, 2 * RATE, 4);
    put(file, 2, 2);
    put(file, 16, 2);
    fputs("data", file);
    put(file, 2 * samples, 4);
}
"""
"""How the check writes its sound."""


def _main(source: EngineSource) -> str:
    return f"""/* Renders the golden controls to {source.name}.wav and compares the sound with the golden one. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "golden.h"
#include "{source.name}.h"

enum {{ HOP = {source.name}_HOP_SAMPLES, RATE = {source.name}_SAMPLE_RATE_HZ, CONTROLS = {len(source.controls)} }};

{_WAV}
int main(void)
{{
    static {source.name}_state state; /* all the memory that a voice needs */
    static float audio[HOP];
    float worst = 0.0f;
    FILE *file = fopen("{source.name}.wav", "wb");
    if (!file) {{
        perror("{source.name}.wav");
        return 2;
    }}
    put_wav_header(file, (uint32_t)GOLDEN_FRAMES * HOP);
    {source.name}_reset(&state);
    for (int frame = 0; frame < GOLDEN_FRAMES; frame++) {{
        {source.name}_process(&state, golden_controls + frame * CONTROLS, audio, HOP);
        for (int i = 0; i < HOP; i++) {{
            const float error = fabsf(audio[i] - golden_audio[frame * HOP + i]);
            const float held = audio[i] > 1.0f ? 1.0f : audio[i] < -1.0f ? -1.0f : audio[i];
            if (!(error <= worst)) worst = error;
            put(file, (uint32_t)(int32_t)lrintf(held * 32767.0f) & 0xFFFFu, 2);
        }}
    }}
    if (fclose(file) != 0) {{
        perror("{source.name}.wav");
        return 2;
    }}
    printf("largest difference to the golden sound: %g (allowed: %g)\\n", (double)worst, (double)GOLDEN_TOLERANCE);
    return worst <= GOLDEN_TOLERANCE ? 0 : 1;
}}
"""


def _lead(source: EngineSource) -> str:
    """How a sound that begins with silence is heard as soon as it is asked for."""
    if not source.lead_samples:
        return ""
    return f"""
A sound begins with {source.lead_samples} samples of silence: to hear it as soon as it is asked for, make
`{source.name}_LEAD_SAMPLES` samples after a reset with the note's controls, and drop them.
"""


def _makefile(source: EngineSource) -> str:
    objects = " ".join(f"{name[:-2]}.o" for name in _compiled(source))
    return f"""CFLAGS ?= -O3
CFLAGS += -std=c99 -Wall -Wextra -Werror -pedantic

check: {source.name}_check
\t./{source.name}_check

{source.name}_check: main.o {objects}
\t$(CC) $(LDFLAGS) -o $@ $^ -lm

main.o {objects}: $(wildcard *.h)

clean:
\trm -f *.o {source.name}_check {source.name}.wav

.PHONY: check clean
"""


def _compiled(source: EngineSource) -> list[str]:
    """The C files of an engine that a program is linked with; glue.c is for hosts that load it at run time."""
    return sorted(name for name in source.files if name.endswith(".c") and name != "glue.c")


def _readme(instrument: Instrument) -> str:
    source, name = instrument.source, instrument.source.name
    rows = "\n".join(
        f"| {index} | `{c.name}` | {c.unit or '-'} | {c.low:g} to {c.high:g} | {c.default:g} | {c.help} |"
        for index, c in enumerate(source.controls)
    )
    defaults = ", ".join(f"{float(c.default)!r}f" for c in source.controls) or "0.0f"
    compiled = " and ".join(f"`{file}`" for file in _compiled(source))
    return f"""# {instrument.title or instrument.name}

An instrument in C99: no allocation, no operating system, all its memory in one struct. `make` builds `main.c`, which
renders the golden sound to `{name}.wav` and compares it with what it must be. In a program of your own compile
{compiled} with it, and nothing else of this folder: the headers are included. Call `{name}_reset` once before the first
`{name}_process`. No library is needed but for `memset` and `memcpy`, which compilers may put in the place of loops.

```c
#include "{name}.h"

static {name}_state voice;                  /* one of these a voice */
float controls[{name}_CONTROLS] = {{ {defaults} }};

{name}_reset(&voice);                       /* back to silence */
{name}_process(&voice, controls, audio, n); /* n samples, mono, full scale 1 */
```

It makes {source.sample_rate_hz} samples a second and reads its controls every {source.hop_samples} samples; a change is
heard in full after {source.latency_samples} samples. Any number of samples may be asked for at a time; `glue.c` is only
needed where the engine is loaded at run time, and takes at most 512.
{_lead(source)}
| | control | unit | range | default | what it does |
|---|---|---|---|---|---|
{rows}

Made with pochette {instrument.pochette_version}.
"""
