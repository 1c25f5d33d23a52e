"""Find the paths that keys name. `data.shards` may be a folder, or the URL of a shard set elsewhere."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from detaux.errors import UserError

SCHEMES = ("http", "https", "s3", "gs", "file", "pipe")


def expand_path(text: str, name: str) -> Path:
    """Return the path `text` of the key or argument `name`, with `~` and `~user` filled in.

    Raises UserError if there is no such user or home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(
            f"{name}={text}: {text.split('/')[0]} names no home folder of this machine; write the whole path, or ./{text} "
            "if the name itself starts with ~."
        ) from None


def find_folder(shards: str) -> Path | None:
    """Return the folder that `shards` names as a path or by file:, or None for a URL, which must be fetched.

    Raises UserError for a scheme that is not one of SCHEMES, a pipe: without {name}, and a file: of another machine.
    """
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://|(file|pipe):", shards)
    if found is None:
        return expand_path(shards, "data.shards")
    scheme = found[1] or found[2]
    if scheme not in SCHEMES:
        raise UserError(f"{shards}: data.shards takes a folder or a URL of {', '.join(SCHEMES)}, and not of {scheme}.")
    if scheme == "pipe" and "{name}" not in shards:
        raise UserError(f"{shards}: the command of data.shards has no {{name}}, which stands for the file to print.")
    if scheme != "file":
        return None
    parts = urlsplit(shards)
    if parts.netloc not in ("", "localhost"):
        raise UserError(
            f"{shards}: a file: URL of data.shards names a folder of this machine, as file:///data/set does."
        )
    if "%00" in parts.path:
        raise UserError(f"{shards}: data.shards holds a NUL character, %00, which no path may.")
    return Path(unquote(parts.path))
