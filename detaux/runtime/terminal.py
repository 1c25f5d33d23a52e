"""The console that everything of rich is printed on."""

import errno
import os

from rich.console import Console


class Terminal(Console):
    """A console of rich that leaves it to the command line to end when the reader of its output has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
