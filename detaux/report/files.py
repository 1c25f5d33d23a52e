"""The files of a report: the page names all that were written beside it, and the next report replaces those and no others."""

import html
import re
from collections.abc import Mapping
from pathlib import Path

from detaux.artefacts import REPORT_NAME
from detaux.errors import UserError
from detaux.runtime.files import atomic_path

LIST_MARK = "detaux-files"  # the meta element of the page whose content is that list
OLDER_MARK = "<p>Made by detaux."  # of releases whose pages had no list
HEAD_BYTES = 2**16


def write_files(folder: Path, page: str, files: Mapping[str, bytes]) -> Path:
    """Write the page, and `files` by their names relative to `folder`; what the report before had more is removed.

    The page is first: it names the files, so that a report that was interrupted is known for one, and is replaced.

    Returns the page's path. Raises UserError, before anything is written, when a file of that name is there that no report
    made.
    """
    own = _list_own(folder, files)
    for name in (REPORT_NAME, *files):
        if (folder / name).exists() and name not in own:
            raise UserError(
                f"{folder / name} exists and no report made it; give --out another folder, or move it away."
            )
    for name in own - {REPORT_NAME, *files}:
        (folder / name).unlink(missing_ok=True)
    for name, content in {REPORT_NAME: page.encode(), **files}.items():
        with atomic_path(folder / name) as partial:
            partial.write_bytes(content)
    return folder / REPORT_NAME


def _list_own(folder: Path, files: Mapping[str, bytes]) -> set[str]:
    """The names that the report in `folder` made, as far as they lie in it."""
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
