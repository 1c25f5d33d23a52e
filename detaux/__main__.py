"""`python -m detaux` and the console script."""

import os
import sys

from detaux.cli import run_command


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        exit_code = run_command(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone; Python must not flush to it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
