"""Copy the file at a URL to standard output. source.py starts this program once for each file.

It is a process of its own for two reasons. It can be ended no matter what it waits for. And the clients of object
stores keep threads, which a forked loader worker would not have.
"""

import shutil
import sys
import urllib.error
import urllib.request
from typing import BinaryIO

CHUNK_BYTES = 2**18


def copy_url(url: str, timeout: float, out: BinaryIO) -> None:
    """Copy all bytes of an http(s) URL, or of one that fsspec opens, to `out`. Raises OSError if some are missing."""
    if not url.startswith(("http://", "https://")):
        import fsspec

        with fsspec.open(url, "rb") as stream:
            shutil.copyfileobj(stream, out, CHUNK_BYTES)
        return
    with urllib.request.urlopen(url, timeout=timeout) as response:
        while chunk := response.read1(CHUNK_BYTES):
            out.write(chunk)
            out.flush()
        if response.length:  # the rest of Content-Length, which did not come
            raise OSError(f"the connection ended {response.length} bytes too early")


def main() -> int:
    """Copy the URL in the first argument with the timeout in the second. An error is one line on standard error."""
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
