"""Fetch a file by its URL from a process that prints its bytes, with new attempts if the process fails or hangs.

The command depends on the scheme of the URL: the user's own for pipe:, copy_url.py for all others.
"""

import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from detaux.config.schema import DataConfig
from detaux.errors import UserError

ATTEMPTS = 4
BACKOFF_SECONDS = 1.0  # about the wait before the second attempt; it doubles each time
POLL_SECONDS = 0.1
CHUNK_BYTES = 2**18
COPY_PROGRAM = Path(__file__).with_name("copy_url.py")
CLIENTS = {"s3": "s3fs", "gs": "gcsfs"}  # packages through which fsspec reads a scheme


class SourceError(Exception):
    """Report what went wrong at the source in one attempt."""


class StoppedError(Exception):
    """Report that another thread of this process has failed or was interrupted."""


@dataclass(frozen=True)
class RemoteSource:
    """Read files from the place that `data.shards` names by URL. Every wait for it ends once `stop` is set."""

    data: DataConfig
    stop: threading.Event

    def describe(self, name: str) -> str:
        """Return the name of a file of the set for messages: without the query of a URL, which may hold a password."""
        url = self._join(name)
        return url.partition("?")[0] if url.startswith("http") else url

    def _join(self, name: str) -> str:
        url = self.data.shards or ""
        if url.startswith("pipe:"):
            return url.replace("{name}", name)
        if url.startswith("http"):  # keep the query behind the path, which may be a signature
            parts = urlsplit(url)
            return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()
        return f"{url.rstrip('/')}/{name}"

    def _make_command(self, name: str) -> list[str]:
        """Return the command that prints a file of the set. Raises UserError if it needs a package that is missing."""
        url = self._join(name)
        if url.startswith("pipe:"):
            return ["sh", "-c", url.removeprefix("pipe:")]
        client = CLIENTS.get(urlsplit(url).scheme)
        if client and not find_spec(client):
            raise UserError(
                f"{url} needs the Python package {client}; run `pip install {client}`, or use a pipe: command."
            )
        # Without -P, modules of this folder would replace those of the standard library. The program's timeout is twice
        # ours, because it serves only if this process was killed.
        return [sys.executable, "-P", str(COPY_PROGRAM), url, str(2 * self.data.remote_timeout)]

    def pause(self, seconds: float = POLL_SECONDS) -> None:
        """Wait. Raises StoppedError once `stop` is set."""
        if self.stop.wait(seconds):
            raise StoppedError

    def retry(self, name: str, fetch: Callable[[], None]) -> None:
        """Call `fetch` until it succeeds, with a pause after each SourceError.

        Raises UserError with the last error after ATTEMPTS attempts.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return fetch()
            except SourceError as error:
                if attempt == ATTEMPTS:
                    raise UserError(
                        f"{self.describe(name)} cannot be fetched: {error}, in the last of {ATTEMPTS} attempts."
                    ) from None
            # fetching has its own generator, because it must not move the random state of the run
            self.pause(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.Random().uniform(0.5, 1.5))

    def copy(self, name: str, take: Callable[[bytes], None]) -> None:
        """Call `take` with the bytes of a file as they come.

        Raises SourceError if none come for `data.remote_timeout` seconds or if the command that prints them fails.
        """
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(
                self._make_command(name),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,  # so that all processes of a command line can be ended
            ) as process,
        ):
            try:
                assert process.stdout is not None
                while chunk := self._read(process.stdout):
                    take(chunk)
                status = process.wait(self.data.remote_timeout)
            except subprocess.TimeoutExpired:
                raise SourceError(f"the command did not end within {self.data.remote_timeout:g} s") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            if status:
                raise SourceError(_read_last_line(complaints) or f"exit code {status}")

    def _read(self, stream: IO[bytes]) -> bytes:
        """Read the next bytes of a pipe, b"" at its end."""
        poll, deadline = select.poll(), time.monotonic() + self.data.remote_timeout
        poll.register(stream, select.POLLIN)
        while not poll.poll(POLL_SECONDS * 1000):
            if time.monotonic() > deadline:
                raise SourceError(f"no bytes for {self.data.remote_timeout:g} s")
            self.pause(0)
        self.pause(0)
        return os.read(stream.fileno(), CHUNK_BYTES)


def _read_last_line(stream: IO[bytes]) -> str:
    """Return the last line that is not blank: at most 200 characters, and only printable ones."""
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
    lines = stream.read().decode(errors="replace").split("\n")
    printable = ("".join(filter(str.isprintable, line)).strip() for line in reversed(lines))
    return next(filter(None, printable), "")[:200].rstrip(".")
