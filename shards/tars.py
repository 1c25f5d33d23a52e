"""Read the samples of tars that others made: plain or compressed, several in a row, with links. Nothing is unpacked.

A member is read only if a sample can use it, and only up to the size that such a member may have. So a small compressed
file cannot fill the memory.
"""

import bz2
import gzip
import io
import lzma
import posixpath
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from webdataset.tariterators import base_plus_ext

from detaux.data.decode import MAX_TEXT_BYTES, META_NAME, PIL_FORMATS
from detaux.errors import UserError, raise_machine_fault
from detaux.runtime.readers import describe_damage

OPENERS: dict[bytes, Callable[..., Any]] = {  # first bytes of a compressed file -> what opens it
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
ZSTD = b"\x28\xb5\x2f\xfd"
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# suffixes of tars that are not read -> what compressed them
UNREAD = {
    **dict.fromkeys((".tar.zst", ".tar.zstd", ".tzst"), "zstd"),
    ".tar.lz4": "lz4",
    ".tar.lz": "lzip",
    ".tar.lzma": "lzma",
    ".tar.br": "brotli",
    ".tar.z": "compress",
}
MOST_BYTES = {**dict.fromkeys(PIL_FORMATS, 2**28), "cls": 2**10, "json": MAX_TEXT_BYTES}  # of a member, by field
READ_BYTES = 2**20  # bytes read at a time, and the most that a header may ask for
KEPT_BYTES = 64  # members up to this size are kept, for links to them
BLOCK = tarfile.BLOCKSIZE
KEPT_TAIL = 2 * BLOCK


class TarError(ValueError):
    """Report why a file is not a tar that can be read to its end."""


@dataclass
class Group:
    """Hold the members of a sample, which follow each other in the tar.

    fields maps each field that a sample may have to its content. others has the names of fields that are not read.
    fault says why the sample cannot be used, None if it can.
    """

    key: str
    fields: dict[str, bytes] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    fault: str | None = None


def describe_unread(kind: str) -> str:
    """Describe a tar with a compression that is not read, and what to do."""
    return f"compressed with {kind}, which is not read: unpack it, or compress it with gzip"


def find_compression(path: Path) -> bytes:
    """Return the first bytes that mark a file as compressed, or b"" for a plain one. Raises TarError for zstd."""
    with path.open("rb") as stream:
        begin = stream.read(8)
    if begin.startswith(ZSTD):
        raise TarError(f"it is {describe_unread('zstd')}")
    return next((mark for mark in OPENERS if begin.startswith(mark)), b"")


def read_tar_groups(path: Path) -> Iterator[Group]:
    """Yield the samples of a tar as webdataset groups them: members in a row with one key form a sample.

    Raises TarError if the file is no tar, is cut short, or continues with anything but another tar.
    """
    mark = find_compression(path)
    with OPENERS[mark](path) if mark else path.open("rb") as stream:
        reader = _TarReader(_Forward(stream) if mark else stream)
        group: Group | None = None
        for member in reader:
            key, suffix = base_plus_ext(member.name)
            is_hidden = PurePosixPath(member.name).name.startswith(".")  # such as ._NAME of macOS
            if member.isdir() or key is None or is_hidden or META_NAME.match(member.name):
                continue
            if group is None or group.key != key:
                if group is not None:
                    yield group
                group = Group(key)
            _add_member(group, suffix.lower(), member, reader)
        if group is not None:
            yield group


def read_tar_files(path: Path, limits: Mapping[str, int]) -> tuple[dict[str, bytes], list[str]]:
    """Read the files of a tar whose names, without their folders, `limits` has; it gives the most bytes of each.

    Return their contents by name, and the names of the other members. Raises TarError like read_tar_groups, and for a
    file that occurs twice or cannot be read.
    """
    found: dict[str, bytes] = {}
    others: list[str] = []
    mark = find_compression(path)
    with OPENERS[mark](path) if mark else path.open("rb") as stream:
        reader = _TarReader(_Forward(stream) if mark else stream)
        for member in reader:
            name = PurePosixPath(member.name).name
            if name not in limits:
                others.append(name)
                continue
            if name in found:
                raise TarError(f"its member {name} occurs twice")
            try:
                found[name] = reader.read(member, limits[name])
            except _UnreadableError as error:
                raise TarError(f"its member {name} {error}") from None
    return found, others


@contextmanager
def name_damage(path: Path) -> Iterator[None]:
    """Turn an error in reading a tar into a UserError that names the file, unless the machine is at fault."""
    try:
        yield
    except TarError as error:
        raise UserError(f"{describe_damage(path, 'tar', error)}.") from None
    except (OSError, EOFError, ValueError, ArithmeticError, MemoryError) as error:  # decompression raises these
        raise_machine_fault(error, path)
        raise UserError(f"{describe_damage(path, 'compressed tar', error)}.") from None


def _add_member(group: Group, name: str, member: tarfile.TarInfo, reader: "_TarReader") -> None:
    if name not in MOST_BYTES:
        group.others.append(name)
    elif name in group.fields:
        group.fault = group.fault or f"its member {name} occurs twice"
    else:
        group.fields[name] = b""
        try:
            group.fields[name] = reader.read(member, MOST_BYTES[name])
        except _UnreadableError as error:
            group.fault = group.fault or f"its member {name} {error}"


class _UnreadableError(ValueError):
    """Report why a member of a sample cannot be read."""


class _Forward(io.RawIOBase):
    """Read a compressed file from start to end. The last KEPT_TAIL bytes can be read again, because tarfile does so."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._position, self._end, self._tail = stream, 0, 0, b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        back = self._end - self._position
        again = self._tail[len(self._tail) - back :][:size] if back else b""
        fresh = self._stream.read(size - len(again)) if len(again) < size else b""
        self._tail, self._end = (self._tail + fresh)[-KEPT_TAIL:], self._end + len(fresh)
        self._position += len(again) + len(fresh)
        return again + fresh

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset < self._end - len(self._tail):
            raise TarError(f"byte {offset} is too far back to be read again in a compressed file")
        self._position = min(offset, self._end)
        while self._position < offset and self.read(min(READ_BYTES, offset - self._position)):
            pass
        return self._position


class _Bounded:
    """Bound what tarfile reads: a header that asks for more than READ_BYTES was made to fill the memory."""

    def __init__(self, stream: BinaryIO | _Forward) -> None:
        self._stream = stream
        self.tell, self.seek = stream.tell, stream.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= READ_BYTES:
            raise TarError(f"at byte {self.tell()} it asks for {size} bytes at once")
        return self._stream.read(size) or b""


class _TarReader:
    """Iterate over the members of all tars in a row, and read their contents.

    Iterating raises TarError if the file is no tar, is cut short, or continues with anything but another tar.
    """

    def __init__(self, stream: BinaryIO | _Forward) -> None:
        self._stream = _Bounded(stream)
        # for links: normalised name -> first byte and size; tar strips ./ and the like only from targets of hard links
        self._places: dict[str, tuple[int, int]] = {}
        # normalised name -> content, for small members, because a compressed tar cannot go back to them
        self._contents: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        has_more = True
        while has_more:
            try:
                with tarfile.open(fileobj=self._stream, mode="r:") as archive:  # type: ignore[call-overload]
                    while (member := archive.next()) is not None:
                        archive.members.clear()  # the list would grow by a kilobyte a member
                        if member.size < 0:  # tarfile would find the same member again
                            raise TarError(f"its member {member.name} has {member.size} bytes")
                        if not member.name and not member.isdir():
                            raise TarError(f"its member at byte {member.offset} has no name")
                        yield member
                    end = archive.offset
            except tarfile.TarError as error:
                raise TarError(str(error)) from None
            except RecursionError:  # tarfile reads the next header within the call for this one
                raise TarError("it has too many headers in a row that only describe the next header") from None
            has_more = self._skip_end(end)

    def _skip_end(self, end: int) -> bool:
        """Skip the empty blocks at the end of a tar. Return whether anything follows them."""
        self._stream.seek(end)
        block, empty = self._stream.read(BLOCK), bytes(BLOCK)
        if block and block != empty:
            raise TarError(f"it continues at byte {end} with something that is no member of a tar")
        if not block:
            raise TarError("it ends without the empty blocks that close a tar")
        while block == empty:
            block = self._stream.read(BLOCK)
        self._stream.seek(self._stream.tell() - len(block))
        return bool(block.strip(b"\0"))

    def read(self, member: tarfile.TarInfo, limit: int) -> bytes:
        """Read the content of a member, or of the earlier member that it links to.

        Raises _UnreadableError if it has more than `limit` bytes or is no file.
        """
        if member.islnk() or member.issym():
            return self._follow(member, limit)
        if not member.isreg() or member.issparse():
            raise _UnreadableError("is no regular file")
        name = posixpath.normpath(member.name)
        self._places[name] = (member.offset_data, member.size)
        content = self._read_span(member.offset_data, member.size, limit)
        if len(content) <= KEPT_BYTES:
            self._contents[name] = content
        return content

    def _read_span(self, begin: int, size: int, limit: int) -> bytes:
        if size > limit:
            raise _UnreadableError(f"has {size} bytes; at most {limit} are read")
        self._stream.seek(begin)
        parts = []
        while size:
            parts.append(self._stream.read(min(size, READ_BYTES)))
            if not parts[-1]:
                raise TarError("it is cut short inside a member")
            size -= len(parts[-1])
        return b"".join(parts)

    def _follow(self, member: tarfile.TarInfo, limit: int) -> bytes:
        target = member.linkname
        if member.issym():
            target = posixpath.join(posixpath.dirname(member.name), target)
        target = posixpath.normpath(target)
        if target in self._contents:
            return self._contents[target]
        if target not in self._places:
            raise _UnreadableError(f"is a link to {member.linkname}, which is no file that was read before it")
        here = self._stream.tell()
        try:
            return self._read_span(*self._places[target], limit)
        except TarError:
            raise _UnreadableError(
                f"is a link to {member.linkname}, and a compressed tar cannot go back to it: unpack the tar"
            ) from None
        finally:
            self._stream.seek(here)
