"""Provide the console on which rich prints everything."""

import errno
import os

from rich.console import Console


class Terminal(Console):
    """A rich console that raises BrokenPipeError when its output's reader has gone, so that the command line ends."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
