"""A zip of a few small members, opened as if a stranger had sent it.

Everything is bounded before memory is taken: the central directory, the number of members, what they declare, and what
they really hold. Only plain files with names of a known form are let in.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from pochette.errors import InstrumentError

MEMBER_LIMIT = 64
TOTAL_LIMIT_BYTES = 256 << 20
DIRECTORY_LIMIT_BYTES = 64 << 10
RATIO_LIMIT = 100
"""Largest expansion of a member beyond its first megabyte; weights and C text compress far less."""
NAME_PATTERN = re.compile(
    r"manifest\.json|weights\.safetensors|golden\.safetensors|engine\.wasm|report\.json|source/[A-Za-z0-9_]{1,64}\.[ch]"
)
_END_BYTES = 22
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)


def pack(members: Mapping[str, bytes]) -> bytes:
    """Members as zip bytes; the same members always give the same bytes.

    Args:
        members: contents by name, in the order in which they are stored.

    Returns:
        the archive.

    Raises:
        InstrumentError: more than the format allows, so that nothing is written that could not be read.
    """
    if len(members) > MEMBER_LIMIT or sum(map(len, members.values())) > TOTAL_LIMIT_BYTES:
        raise InstrumentError(
            f"The instrument is larger than its format allows ({MEMBER_LIMIT} members, {TOTAL_LIMIT_BYTES >> 20} MiB).",
            remedy="Reduce the model further.",
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=_FIXED_DATE)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            packed = zlib.compress(content, 9)
            # What would not pass our own bomb guard (long runs of zeros) is stored as it is.
            fits = len(content) <= RATIO_LIMIT * len(packed)
            info.compress_type = zipfile.ZIP_DEFLATED if fits else zipfile.ZIP_STORED
            archive.writestr(info, content, compresslevel=9)
    return buffer.getvalue()


def unpack(data: bytes, where: str) -> dict[str, bytes]:
    """All members of an archive.

    Args:
        data: the archive.
        where: its path, for errors.

    Returns:
        contents by name.

    Raises:
        InstrumentError: it is cut short, damaged, too large, or holds anything but the known plain files.
    """
    _check_end(data, where)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_directory(infos, where)
            return {info.filename: _read(archive, info, where) for info in infos}
    except _READ_ERRORS as error:
        raise _refuse(f"it cannot be read ({error})", where) from error


def check_place(path: Path) -> None:
    """Refuse a place where no file can be put, or where putting one would replace what is no file.

    Args:
        path: a file to make or replace.

    Raises:
        InstrumentError: something is there that is not a regular file, or there is no folder for it.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InstrumentError("This is a folder, not a file.", where=str(path), remedy="Give the name of a file.")
        if path.exists() and not path.is_file():
            raise InstrumentError(
                "There is something here that is not a regular file (a device or a pipe); it is left alone.",
                where=str(path),
                remedy="Give the name of a file.",
            )
        if not path.parent.is_dir():
            in_the_way = file_above(path)
            raise InstrumentError(
                f"The file could not be written: there is no folder {str(path.parent)!r}.",
                where=str(path),
                remedy=f"{str(in_the_way)!r} is a file; choose another folder."
                if in_the_way
                else "Make the folder, or choose another.",
            )
    except OSError as error:
        raise InstrumentError(
            f"The file cannot be put here: {error.strerror or error}.",
            where=str(path),
            remedy="Choose another name or folder.",
        ) from error


def file_above(path: Path) -> Path | None:
    """What stands, as a file, where a path needs a folder.

    Args:
        path: a file or folder to make.

    Returns:
        the nearest of its parents that exists, if it is no folder; None if folders can be made up to the path.
    """
    for parent in Path(path).parents:
        try:
            if parent.is_dir():
                return None
            if parent.exists():
                return parent
        except OSError:
            continue
    return None


def write_atomically(path: Path, data: bytes) -> None:
    """Put a whole file in place, or leave what was there untouched.

    Args:
        path: the file to make or replace.
        data: its contents.

    Raises:
        InstrumentError: the folder is missing or not writable, the disk is full, or what is there is no regular file.
    """
    check_place(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise InstrumentError(
            f"The file could not be written: {error.strerror or error}. What was there before is unchanged.",
            where=str(path),
            remedy="Free some space, or choose a folder that exists and that you may write to.",
        ) from error


def _check_end(data: bytes, where: str) -> None:
    """Refuse a huge central directory before `zipfile` builds objects from it.

    Our writer leaves no archive comment, so the end record is exactly the last 22 bytes; `zipfile` then reads the same
    record, and no second one can hide behind it.
    """
    if data[-_END_BYTES:-18] != b"PK\x05\x06" or len(data) < _END_BYTES:
        raise _refuse("it is cut short or is no .pochette file", where)
    disk, first_disk, here, total, size, offset, comment = struct.unpack("<HHHHIIH", data[-18:])
    if data[-_END_BYTES - 20 : -_END_BYTES - 16] == b"PK\x06\x07" or disk or first_disk or comment:
        raise _refuse("its directory is of a kind that pochette never writes", where)
    if here != total or total > MEMBER_LIMIT or size > DIRECTORY_LIMIT_BYTES or offset + size + _END_BYTES != len(data):
        raise _refuse("its directory is damaged or too large", where)


def _check_directory(infos: list[zipfile.ZipInfo], where: str) -> None:
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise _refuse("it holds the same name twice", where)
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not NAME_PATTERN.fullmatch(info.filename) or kind not in (0, stat.S_IFREG) or info.flag_bits & 0x1:
            raise _refuse(f"the member {info.filename[:80]!r} does not belong in it", where)
        if info.file_size > RATIO_LIMIT * info.compress_size + (1 << 20):
            raise _refuse(f"the member {info.filename!r} expands beyond reason", where)
    if sum(info.file_size for info in infos) > TOTAL_LIMIT_BYTES:
        raise _refuse(f"it expands to more than {TOTAL_LIMIT_BYTES >> 20} MiB", where)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    """One member, never more bytes than it declared (and `zipfile` compares its checksum)."""
    try:
        with archive.open(info) as member:
            content = member.read(info.file_size + 1)
    except (*_READ_ERRORS, OSError) as error:
        raise _refuse(f"the member {info.filename!r} is damaged ({error})", where) from error
    if len(content) != info.file_size:
        raise _refuse(f"the member {info.filename!r} is cut short", where)
    return content


def _refuse(why: str, where: str) -> InstrumentError:
    return InstrumentError(
        f"This instrument file is not used: {why}.", where=where, remedy="Fetch or build the file again."
    )
