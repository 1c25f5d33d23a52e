"""Start the command line, as `python -m detaux` and as the console script."""

import gc
import os
import sys

from detaux.interrupts import note_interrupts, received


def main() -> int:
    """Run the command line and return the exit code. Whatever ends it, the user gets a sentence."""
    _mend_streams()
    note_interrupts()
    try:
        from detaux.cli import run_command  # inside the try, so that a Ctrl-C during the import is caught

        exit_code = run_command(sys.argv[1:])
        sys.stdout.flush()
        gc.freeze()  # saves a second: the interpreter's last collection would visit every object of torch
    except BrokenPipeError:  # the reader of the pipe, such as head, has gone; Python must not flush to it again
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        return 141
    except BaseException:
        if not received:
            raise
        print("detaux: stopped at once; what was checkpointed is intact.", file=sys.stderr)
        return 130
    return exit_code


def _mend_streams() -> None:
    """Open every standard stream that is closed, so that no later file takes its place.

    Characters that a stream's encoding lacks are spelled out.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 for as long as the process lives
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
