"""Write the files of a report. The page lists the files written with it, and the next report replaces only those."""

import html
import re
from collections.abc import Mapping
from pathlib import Path

from detaux.artefacts import REPORT_NAME
from detaux.errors import UserError
from detaux.runtime.files import atomic_path

LIST_MARK = "detaux-files"  # name of the page's meta element that holds the list
OLDER_MARK = "<p>Made by detaux."  # marks pages of older releases, which had no list
HEAD_BYTES = 2**16


def write_files(folder: Path, page: str, files: Mapping[str, bytes]) -> Path:
    """Write the page and `files`, named relative to `folder`, and return the page's path.

    Files that only the previous report had are removed. The page is written first, because it lists the files: the
    next report then recognises the files of an interrupted one and replaces them.

    Raises UserError before writing anything if a file of one of these names exists and no report made it.
    """
    own = _list_own(folder, files)
    for name in (REPORT_NAME, *files):
        if (folder / name).exists() and name not in own:
            raise UserError(
                f"{folder / name} exists and no report made it; give another folder with --out, or move the file away."
            )
    for name in own - {REPORT_NAME, *files}:
        (folder / name).unlink(missing_ok=True)
    for name, content in {REPORT_NAME: page.encode(), **files}.items():
        with atomic_path(folder / name) as partial:
            partial.write_bytes(content)
    return folder / REPORT_NAME


def _list_own(folder: Path, files: Mapping[str, bytes]) -> set[str]:
    """Return the names of the files that the existing report in `folder` made.

    The page of an older release has no list, so it is assumed to have made all `files`.
    """
    page = folder / REPORT_NAME
    if not page.is_file():
        return set()
    with page.open("rb") as stream:
        head = stream.read(HEAD_BYTES).decode("utf-8", "replace")
    found = re.search(rf'<meta name="{LIST_MARK}" content="([^"]*)">', head)
    if found is not None:
        names = html.unescape(found[1]).split()
        return {REPORT_NAME, *(name for name in names if re.fullmatch(r"(tables|figures)/[\w.-]+", name))}
    is_older = OLDER_MARK in page.read_text(encoding="utf-8", errors="replace")
    return {REPORT_NAME, *files} if is_older else set()
