"""How large a firmware is, and how long a compiler takes over what was generated."""

from __future__ import annotations

import io
import resource
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pochette.boards.target import CORTEX_M7
from pochette.engine.build import OPTIMISATION, WARNINGS
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export
from pochette.engine.firmware import MPS2_AN500, compile_firmware, firmware_size
from pochette.engine.precision import Precision
from pochette.families import boards, models
from pochette.lab.runs import sized

FLASH_BYTES = 128 << 10
"""What the smallest microcontrollers with a Cortex-M7 have."""
COMPILE_SECONDS = 10.0
"""CPU time; measured 2026-11-27 on two busy cores: ddsp 2.8, sing 1.3, sing-ae 0.9, wavenet 4.8.

At paper size, 2026-11-29: ddsp 1.7, rave 2.1, nsf 3.8, wavegan 6.0, mcnn 7.5.
"""


@pytest.mark.parametrize("sample_rate_hz", [16_000, 48_000])
@pytest.mark.parametrize(("precision", "share"), [("float32", 1.0), ("int8", 0.5)])
def test_the_firmware_of_a_tiny_ddsp_fits_128_kb(precision: Precision, share: float, sample_rate_hz: int) -> None:
    """Code, weights and tables as linked: 126.8 KB in floats at 16 kHz and 127.6 at 48, in 8 bits 53.4 and 54.4."""
    pytest.importorskip("ziglang")
    elffile = pytest.importorskip("elftools.elf.elffile")
    torch.manual_seed(0)
    model = sized(models["ddsp"], "tiny", sample_rate_hz=sample_rate_hz).build()
    source = export(model, "tiny", precision=precision)
    curve = np.array([[knob.default for knob in model.controls]], np.float32)
    for memory in (boards["daisy-seed"].memory, MPS2_AN500):
        assert memory is not None
        elf = compile_firmware(source, curve, memory, target=CORTEX_M7)
        # Section by section, beside what the project itself adds up.
        sections = list(elffile.ELFFile(io.BytesIO(elf)).iter_sections())
        stored = [each for each in sections if each["sh_type"] != "SHT_NOBITS" and each["sh_flags"] & 2]
        size = sum(each["sh_size"] for each in stored)
        assert any(each.name.startswith(".text") for each in stored)
        assert size == firmware_size(elf, memory).flash_bytes
        assert 20_000 < size < share * FLASH_BYTES, {each.name: each["sh_size"] for each in stored}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="CPU time of another process")
@pytest.mark.parametrize(("name", "size"), [*((name, "small") for name in models.names()), ("ddsp", "paper")])
def test_models_compile_soon(name: str, size: str, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs the package gcc")
    torch.manual_seed(0)
    source = export(sized(models[name], size).build(), "small")
    for file, text in source.files.items():
        (tmp_path / file).write_text(text)
    units = [file for file in source.files if file.endswith(".c")]
    command = ["gcc", *WARNINGS, *OPTIMISATION, "-ffp-contract=fast", "-shared", "-fPIC", *units, "-o", "small.so"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=tmp_path, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < COMPILE_SECONDS


def test_layers_may_be_called_what_arrays_are_called() -> None:
    """Their names stand in comments, by which no array is to be declared that is not there."""
    module = nn.Sequential(OrderedDict(weights=nn.Linear(3, 4), weights8=nn.Tanh(), weights16=nn.Linear(4, 2)))
    text = compile_engine(module, (torch.zeros(1, 3),)).sources["net.c"]
    assert "weights16:" in text and "stored_weights;" in text and "stored_weights16" not in text


def test_rows_of_one_layer_are_one_loop() -> None:
    """Sixty-four times the same product, written out, kept a compiler busy for a quarter of an hour."""
    torch.manual_seed(0)
    texts = [compile_engine(nn.Linear(21, 7), (torch.zeros(1, rows, 21),)).sources["net.c"] for rows in (64, 128)]
    assert abs(len(texts[1]) - len(texts[0])) < 30
