"""`python -m detaux` and the console script."""

import gc
import os
import sys

from detaux.interrupts import note_interrupts, received


def main() -> int:
    """Run the command line; returns the exit code. Whatever ends it, it ends in a sentence."""
    _mend_streams()
    note_interrupts()
    try:
        from detaux.cli import run_command  # within what catches a Ctrl-C

        exit_code = run_command(sys.argv[1:])
        sys.stdout.flush()
        gc.freeze()  # the interpreter's last collection would go through every object of torch, which takes a second
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone; Python must not flush to it again
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
    """Have the three standard streams be there, so that no file that is opened later takes the place of one that is closed, and
    let them spell out what their encoding lacks."""
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
