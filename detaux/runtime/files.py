"""Write files so that a reader never sees half of one."""

import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from detaux.errors import DetauxError, UserError

FULL_BYTES = 2**23  # if less room than this is left, a failed write is blamed on the full disk


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process. The lock ends with its process.

    A folder that is still empty at the end is removed. Raises UserError if another process holds the lock.
    """

    def refuse() -> None:
        raise UserError(f"another detaux process works in {folder}; wait for it or set another run.dir.")

    try:
        with lock_file(folder / ".lock", refuse):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def lock_file(path: Path, wait: Callable[[], object]) -> Iterator[None]:
    """Lock the file `path`, which serves only as a lock; call `wait()` while another process holds it.

    The lock ends with its process. Threads of one process do not lock each other out.
    """
    while (stream := _try_lock(path)) is None:
        wait()
    with stream:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _try_lock(path: Path) -> IO[str] | None:
    """Open and lock the file at `path`; return None if another process holds the lock.

    If the last holder removes the file before this process has locked it, the file is created again.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            stream = path.open("w")
            try:  # uses lockf and not flock: loader workers inherit a flock, and may outlive a killed process
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                stream.close()
                return None
            if os.fstat(stream.fileno()).st_nlink:  # only the holder removes the file, and now this process holds it
                return stream
            stream.close()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` for a file or folder; it is renamed to `path` only if the block succeeds.

    A kill leaves the old version whole, the new version whole or, between two renames of folders, neither. The next use
    removes hidden left-overs. If the disk is full or a file reaches the size limit, the block raises OSError with that
    reason and a path, whatever the library inside it raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    _remove(partial)
    _remove(old)
    try:
        yield partial
    except DetauxError:  # already says what is wrong
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            error.filename = error.filename or str(path)
            raise
        if reason := _find_reason(error, partial):
            raise OSError(reason, os.strerror(reason), str(path)) from error
        raise
    if partial.is_dir() and path.exists():
        os.replace(path, old)  # a folder cannot be renamed over another
    os.replace(partial, path)
    _remove(old)


def _find_reason(error: Exception, partial: Path) -> int | None:
    """Find the errno of a failed write, which libraries put into their own words or leave out."""
    if found := re.search(r"(?:os error |\[Errno )(\d+)", str(error)):
        return int(found[1])
    if shutil.disk_usage(partial.parent).free < FULL_BYTES:
        return errno.ENOSPC
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    files = [file for file in (partial, *partial.rglob("*")) if file.is_file()] if partial.exists() else []
    is_at_limit = limit != resource.RLIM_INFINITY and any(file.stat().st_size >= limit for file in files)
    return errno.EFBIG if is_at_limit else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN is refused, so that every reader can parse the file."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_path(path: Path) -> str:
    """Return hash_file of a file, or hash_listing of all files below a folder."""
    if not path.is_dir():
        return hash_file(path)
    return hash_listing([entry for entry in sorted(path.rglob("*")) if entry.is_file()], path)


def hash_listing(paths: Iterable[Path], root: Path) -> str:
    """Hash the names below `root`, sizes and modification times of files, because reading them would take too long."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        line = f"{os.path.relpath(path, root)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()
