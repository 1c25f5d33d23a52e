"""Copy what a URL names to standard output: the program that source.py starts for each file.

It is a process of its own, so that it can be ended whatever it hangs in, and because the clients of object stores keep
threads that a forked loader worker would not have.
"""

import shutil
import sys
import urllib.error
import urllib.request
from typing import BinaryIO

CHUNK_BYTES = 2**18


def copy_url(url: str, timeout: float, out: BinaryIO) -> None:
    """Copy all bytes of an http(s) URL, or of one that fsspec opens, to `out`; raises OSError where some are missing."""
    if not url.startswith(("http://", "https://")):
        import fsspec

        with fsspec.open(url, "rb") as stream:
            shutil.copyfileobj(stream, out, CHUNK_BYTES)
        return
    with urllib.request.urlopen(url, timeout=timeout) as response:
        while chunk := response.read1(CHUNK_BYTES):
            out.write(chunk)
            out.flush()
        if response.length:  # what is left of Content-Length
            raise OSError(f"the connection ended {response.length} bytes too early")


def main() -> int:
    """Copy the URL of the first argument, with the timeout of the second; what goes wrong is a line on standard error."""
    try:
        copy_url(sys.argv[1], float(sys.argv[2]), sys.stdout.buffer)
    except urllib.error.HTTPError as error:
        print(f"HTTP {error.code} {error.reason}", file=sys.stderr)
    except urllib.error.URLError as error:
        print(error.reason, file=sys.stderr)
    except Exception as error:  # clients of object stores raise nearly anything
        print(str(error) or type(error).__name__, file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
