"""Other processors on this one: loads a bare ELF image, calls its functions, counts their instructions. Torch-free.

The emulator (`unicorn`, QEMU's core as a wheel) executes the very machine code that a board would. It knows nothing of
time: no pipeline, cache, wait states or interrupts; what instructions take is `boards.cycles`'s to say.

A Cortex-M is emulated as an Arm of the largest kind in Thumb state, because the emulator's own Cortex-M cannot switch
its floating-point unit on; the instructions executed are the same. Helium, the vector unit of a Cortex-M55, it does not
know: QEMU's whole boards do (`engine.firmware`).
"""

from __future__ import annotations

import bisect
import importlib
import io
from collections import Counter
from dataclasses import replace
from typing import Any, get_args

from pochette.boards.board import Machine
from pochette.boards.cycles import Mix
from pochette.engine.watchdog import Watchdog
from pochette.errors import InstrumentError, ToolError

_PAGE_BYTES = 4096
_STACK_TOP, _STACK_BYTES = 0x7000_0000, 1 << 20
_RETURN = 0x7800_0000
"""A call is over when execution comes back to this address, which holds no code."""
_IMAGE_END = _STACK_TOP - _STACK_BYTES
_CALL_LIMIT_S = 60.0
_WATCHDOG = Watchdog()
_REMEDY = "Build the engine again with `compile_elf` for this machine; if it fails again, please report it."


class Processor:
    """A processor with a program in its memory.

    Instructions are counted block by block: a block's bytes over the size of an instruction (Thumb's mixture of two and
    four bytes is decoded). A conditional instruction whose condition fails counts, since it takes its slot; one that
    loads many registers counts once.

    Args:
        elf: a bare image, symbols kept.
        machine: the processor it was made for.
        counting: whether to count instructions, which costs time at every block of code.

    Raises:
        InstrumentError: the image is damaged, or of another machine.
        ToolError: `unicorn` or `pyelftools` is not installed, or there is no such machine.
    """

    def __init__(self, elf: bytes, machine: Machine, *, counting: bool = False) -> None:
        if machine not in get_args(Machine):
            raise ToolError(
                f"There is no emulator for {machine!r}.", remedy=f"Choose one of {', '.join(get_args(Machine))}."
            )
        self.machine = machine
        self._thumb = machine.startswith("cortex-m")
        unicorn = _package("unicorn", "unicorn")
        self.core, self._registers = _make_core(unicorn, machine)
        self._failure = unicorn.UcError
        self.symbols = _load(elf, machine, self.core)
        self.core.mem_map(_STACK_TOP - _STACK_BYTES, _STACK_BYTES)
        self.core.mem_map(_RETURN, _PAGE_BYTES)
        self._blocks: Counter[tuple[int, int]] = Counter()
        self._lengths: dict[tuple[int, int], int] = {}
        self._mixes: dict[tuple[int, int], Mix] = {}
        if counting:
            self.core.hook_add(unicorn.UC_HOOK_BLOCK, self._enter_block)

    def call(self, function: str, *arguments: int) -> int:
        """Run one function to its return.

        Args:
            function: its symbol.
            *arguments: whole numbers or addresses, four at most.

        Returns:
            what it left in the result register.

        Raises:
            InstrumentError: it faults, or does not return.
        """
        counter, stack, link, *parameters = self._registers
        for register, value in zip(parameters, arguments, strict=False):
            self.core.reg_write(register, value)
        self.core.reg_write(stack, _STACK_TOP)
        # Bit 0 of an address says "Thumb code" to an Arm's branch; symbols of Thumb functions carry it already.
        self.core.reg_write(link, _RETURN | self._thumb)
        try:
            with _WATCHDOG.limit(self.core, _CALL_LIMIT_S):
                self.core.emu_start(self.symbols[function], _RETURN)
        except self._failure as error:
            raise InstrumentError(
                f"{function} fails on the emulated {self.machine}: {error}.", remedy=_REMEDY
            ) from None
        if self.core.reg_read(counter) != _RETURN:
            raise InstrumentError(f"{function} does not return on the emulated {self.machine}.", remedy=_REMEDY)
        return int(self.core.reg_read(parameters[0]))

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        self.core.mem_write(address, data)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Bytes of memory."""
        return bytes(self.core.mem_read(address, size_bytes))

    def instructions(self) -> int:
        """Count the instructions executed since the processor was made; 0 unless it counts."""
        return sum(self._length(block) * times for block, times in self._blocks.items())

    def mix(self) -> Mix:
        """Sort the instructions executed since the processor was made by what they wait for.

        Returns:
            the counts.

        Raises:
            ToolError: `capstone` is not installed.
        """
        total = Mix()
        for block, times in self._blocks.items():
            if block not in self._mixes:
                code = self.read(*block)
                self._mixes[block] = replace(mix_of(code, self.machine), instructions=self._length(block))
            total += self._mixes[block] * times
        return total

    def instructions_by_function(self) -> Counter[str]:
        """Count the instructions inside each function."""
        starts = sorted((address & ~1 if self._thumb else address, name) for name, address in self.symbols.items())
        counts: Counter[str] = Counter()
        for block, times in self._blocks.items():
            place = bisect.bisect_right(starts, (block[0], "\uffff")) - 1
            counts[starts[max(place, 0)][1]] += self._length(block) * times
        return counts

    def _enter_block(self, _core: Any, address: int, size_bytes: int, _data: Any) -> None:
        self._blocks[address, size_bytes] += 1

    def _length(self, block: tuple[int, int]) -> int:
        """Number of instructions in a block of code."""
        if block not in self._lengths:
            code = self.read(*block)
            self._lengths[block] = thumb_instructions(code) if self._thumb else len(code) // 4
        return self._lengths[block]


def thumb_instructions(code: bytes) -> int:
    """Count the instructions in Thumb code, which has two or four bytes an instruction.

    Args:
        code: whole instructions. A first halfword whose top five bits are 11101, 11110 or 11111 is one of two
            (Armv7-M Architecture Reference Manual, A5.1).

    Returns:
        how many instructions.
    """
    count, place = 0, 0
    while place + 1 < len(code):
        place += 4 if code[place + 1] >> 3 >= 0b11101 else 2
        count += 1
    return count


_LOADS = ("ldr", "ldm", "ldp", "ldur", "ld1", "ld2", "ld3", "ld4", "vldr", "vldm", "vld", "pop", "vpop")
_DIVISIONS = ("vdiv", "vsqrt", "fdiv", "fsqrt")
_VECTOR_MEMORY = ("vldr", "vldm", "vld", "vstr", "vstm", "vst", "vpush", "vpop")


def mix_of(code: bytes, machine: Machine) -> Mix:
    """Sort the instructions of a stretch of code.

    Args:
        code: whole instructions.
        machine: the processor.

    Returns:
        the counts.

    Raises:
        ToolError: `capstone` is not installed.
    """
    capstone = _package("capstone", "capstone")
    if machine == "aarch64":
        decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    else:
        mode = capstone.CS_MODE_ARM if machine == "armv7" else capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        decoder = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    # What it cannot decode is counted as an instruction, of no kind.
    decoder.skipdata = True
    mix = Mix()
    for _, _, name, operands in decoder.disasm_lite(code, 0):
        if machine == "aarch64":
            # Both units have the same names of instructions; what works on v, q, d or s registers is the vector unit's.
            on_vectors = operands[:1] in ("v", "q", "d", "s") and operands[:2] != "sp" and name[:2] not in ("ld", "st")
        else:
            on_vectors = name.startswith("v") and not name.startswith(_VECTOR_MEMORY)
        mix += Mix(1, name.startswith(_LOADS), on_vectors, name.startswith(_DIVISIONS))
    return mix


def _make_core(unicorn: Any, machine: Machine) -> tuple[Any, tuple[int, ...]]:
    """Make a processor with its floating-point unit on.

    Args:
        unicorn: the package.
        machine: which processor.

    Returns:
        the processor, and its registers: program counter, stack pointer, return address, then the parameters, the
        first of which also takes the result.
    """
    if machine == "aarch64":
        names = _package("unicorn.arm64_const", "unicorn")
        core = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        # The largest model runs the code of the Cortex-A53, A72 and A76 alike.
        core.ctl_set_cpu_model(names.UC_CPU_ARM64_MAX)
        fpen = 3 << 20
        core.reg_write(names.UC_ARM64_REG_CPACR_EL1, core.reg_read(names.UC_ARM64_REG_CPACR_EL1) | fpen)
        special = (names.UC_ARM64_REG_PC, names.UC_ARM64_REG_SP, names.UC_ARM64_REG_LR)
        return core, (*special, *(names.UC_ARM64_REG_X0 + number for number in range(4)))
    arm = _package("unicorn.arm_const", "unicorn")
    core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_ARM if machine == "armv7" else unicorn.UC_MODE_THUMB)
    core.ctl_set_cpu_model(arm.UC_CPU_ARM_MAX)
    full_access = 0xF << 20  # coprocessors 10 and 11, which are the FPU
    core.reg_write(arm.UC_ARM_REG_C1_C0_2, core.reg_read(arm.UC_ARM_REG_C1_C0_2) | full_access)
    core.reg_write(arm.UC_ARM_REG_FPEXC, 1 << 30)
    special = (arm.UC_ARM_REG_PC, arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR)
    return core, (*special, *(arm.UC_ARM_REG_R0 + number for number in range(4)))


def _load(elf: bytes, machine: Machine, core: Any) -> dict[str, int]:
    """Lay an image out in a processor's memory and give the addresses of its functions."""
    elffile = _package("elftools.elf.elffile", "pyelftools")
    try:
        image = elffile.ELFFile(io.BytesIO(elf))
        expected = "EM_AARCH64" if machine == "aarch64" else "EM_ARM"
        found = image["e_machine"]
        if found != expected:
            raise InstrumentError(f"The image is for {found}, not for {machine} ({expected}).", remedy=_REMEDY)
        segments = [segment for segment in image.iter_segments("PT_LOAD") if segment["p_memsz"]]
        pages: set[int] = set()
        for segment in segments:
            start, end = segment["p_vaddr"], segment["p_vaddr"] + segment["p_memsz"]
            if end > _IMAGE_END:
                raise InstrumentError(f"The image reaches up to {end:#x}, over the emulator's stack.", remedy=_REMEDY)
            pages.update(range(start // _PAGE_BYTES, -(-end // _PAGE_BYTES)))
        for first, count in _runs(pages):
            core.mem_map(first * _PAGE_BYTES, count * _PAGE_BYTES)
        for segment in segments:
            core.mem_write(segment["p_vaddr"], segment.data())
        table = image.get_section_by_name(".symtab")
        symbols = table.iter_symbols() if table else ()
        return {symbol.name: symbol["st_value"] for symbol in symbols if symbol["st_info"]["type"] == "STT_FUNC"}
    except elffile.ELFError as error:
        raise InstrumentError(f"The image is no ELF file: {error}.", remedy=_REMEDY) from None


def _runs(pages: set[int]) -> list[tuple[int, int]]:
    """Join page numbers into (first, count) of neighbours."""
    runs: list[tuple[int, int]] = []
    for page in sorted(pages):
        if runs and page == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((page, 1))
    return runs


def _package(module: str, distribution: str) -> Any:
    """Import a module that only emulation needs."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ToolError(
            f"The emulator needs the package `{distribution}`, which is not installed.",
            remedy="Run `pip install 'pochette[compile]'`.",
        ) from None
