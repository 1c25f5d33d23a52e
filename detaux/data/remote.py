"""Fetch remote shard sets into a cache, so that every reader finds them in a local folder.

CACHE/tars/SHA256.tar holds a tar once, no matter how many sets name it. CACHE/sets/SHA256, named by the hash of its
manifest, is a shard set like any other. Its tars are hard links to those files. Only files that match the manifest to
the byte enter the cache. The processes of a machine share it and fetch each tar once.

A manifest gives only names of files. They come from the URL that the user gave.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from detaux.artefacts import MANIFEST_NAME
from detaux.config.location import expand_path
from detaux.config.schema import DataConfig
from detaux.data.schema import Manifest, Shard, parse_manifest, read_manifest
from detaux.data.source import POLL_SECONDS, RemoteSource, SourceError
from detaux.data.split import check_shard, find_damaged
from detaux.errors import UserError
from detaux.runtime.files import atomic_path, hash_file, lock_file
from detaux.runtime.progress import track

PARALLEL = 4
MAX_MANIFEST_BYTES = 2**28
TAR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar")  # plain in a path, a URL and a shell
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_set(data: DataConfig, splits: Iterable[str]) -> Path:
    """Fetch the shard set at the URL `data.shards` with the tars of these splits. Return its folder in the cache.

    Raises UserError if it cannot be fetched.
    """
    folder = store_manifest(fetch_manifest(data), data.remote_cache)
    fetch_tars(data, folder, splits)
    return folder


def locate_set(digest: str, cache: str | None) -> Path:
    """Return the cache folder of the set that has a manifest with this sha256. `cache` is data.remote_cache."""
    return _find_cache(cache) / "sets" / digest


def _find_cache(cache: str | None) -> Path:
    if cache is not None:
        return expand_path(cache, "data.remote_cache")
    return expand_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "$XDG_CACHE_HOME") / "detaux" / "shards"


def fetch_manifest(data: DataConfig) -> str:
    """Fetch the text of the manifest at `data.shards`.

    Raises UserError if it cannot be fetched, is no manifest, or names a tar by anything but a plain name and a sha256.
    """
    source = RemoteSource(data, threading.Event())
    content = bytearray()

    def take(chunk: bytes) -> None:
        content.extend(chunk)
        if len(content) > MAX_MANIFEST_BYTES:
            raise SourceError(f"more than {MAX_MANIFEST_BYTES} bytes came")

    def fetch() -> None:
        content.clear()
        source.copy(MANIFEST_NAME, take)

    source.retry(MANIFEST_NAME, fetch)
    origin = source.describe(MANIFEST_NAME)
    _check_names(parse_manifest(bytes(content), origin), origin)
    return content.decode()


def _check_names(manifest: Manifest, origin: str) -> None:
    names = [shard.name for shard in manifest.shards]
    for number, shard in enumerate(manifest.shards):
        if not TAR_NAME.fullmatch(shard.name) or names.count(shard.name) > 1:
            raise UserError(
                f"{origin}: shards[{number}].name is {shard.name[:60]!r}; a unique name of letters, digits, _, - and . "
                "that ends in .tar is expected."
            )
        if not SHA256.fullmatch(shard.sha256):
            raise UserError(f"{origin}: shards[{number}].sha256 is {shard.sha256[:60]!r}; 64 hex digits are expected.")


def store_manifest(text: str, cache: str | None) -> Path:
    """Write a manifest into the cache folder of its set. Return the folder.

    Raises UserError if the folder cannot be made.
    """
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    folder = locate_set(digest, cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"data.remote_cache: {folder} cannot be made: {error.strerror}.") from None
    path = folder / MANIFEST_NAME
    with lock_file(folder / ".lock", lambda: time.sleep(POLL_SECONDS)):
        if not path.is_file() or hash_file(path) != digest:
            with atomic_path(path) as partial:
                partial.write_bytes(content)
    return folder


def fetch_tars(data: DataConfig, folder: Path, splits: Iterable[str]) -> None:
    """Fetch the tars of these splits that are missing or damaged in `folder`, the one that store_manifest returned.

    Several are fetched at once. Raises UserError for the first that cannot be fetched. Each of the others is kept whole
    or not at all.
    """
    manifest, stop = read_manifest(folder), threading.Event()
    lacking = {name for split in splits for name in find_damaged(folder, manifest, split)}
    tars: dict[str, list[Shard]] = {}  # a lock does not keep out threads of one process: one job per content
    for shard in manifest.shards:
        if shard.name in lacking:
            tars.setdefault(shard.sha256, []).append(shard)
    if not tars:
        return
    source, store = RemoteSource(data, stop), folder.parent.parent / "tars"
    with ThreadPoolExecutor(PARALLEL) as pool, track("fetch shards", len(tars)) as advance:
        try:
            jobs = [pool.submit(_fetch_tar, source, store, folder, shards) for shards in tars.values()]
            for job in as_completed(jobs):
                job.result()
                advance()
        except BaseException:  # interruptions too, because the pool waits for its threads before it ends
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_tar(source: RemoteSource, store: Path, folder: Path, shards: list[Shard]) -> None:
    """Put `shards`, which all have one content, into `folder` as links to one file in `store`. Fetch it if needed."""
    first = shards[0]
    stored = store / f"{first.sha256}.tar"
    with lock_file(store / f".{first.sha256}.lock", source.pause):
        lacking = [shard for shard in shards if check_shard(folder, shard)]  # another process may have fetched it
        if lacking and not (stored.is_file() and hash_file(stored) == first.sha256):
            with atomic_path(stored) as partial:
                source.retry(first.name, lambda: _download(source, first, partial))
        for shard in lacking:
            with atomic_path(folder / shard.name) as link:
                try:
                    os.link(stored, link)
                except OSError as error:
                    raise UserError(
                        f"data.remote_cache: {stored} cannot be linked: {error.strerror}; name a folder on a file system "
                        "with hard links."
                    ) from None


def _download(source: RemoteSource, shard: Shard, path: Path) -> None:
    """Fetch a tar to `path`. Raises SourceError, and leaves no file, if it differs from the manifest."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb") as stream:

            def take(chunk: bytes) -> None:
                nonlocal size
                size += len(chunk)
                if size > shard.size:
                    raise SourceError(f"more than the {shard.size} bytes of the manifest came")
                digest.update(chunk)
                stream.write(chunk)

            source.copy(shard.name, take)
        if size != shard.size:
            raise SourceError(f"{size} bytes came; the manifest says {shard.size}")
        if digest.hexdigest() != shard.sha256:
            raise SourceError("the file that came has another sha256 than the manifest says")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
