from pathlib import Path

import pytest

from detaux.config.location import SCHEMES, find_folder
from detaux.errors import UserError


@pytest.mark.parametrize(
    ("shards", "folder"),
    [
        ("runs/demo/shards", "runs/demo/shards"),
        ("/data/a:b", "/data/a:b"),
        ("C:/set", "C:/set"),
        ("file:///data/my%20set", "/data/my set"),
        ("file://localhost/data/set", "/data/set"),
        ("file:set", "set"),
    ],
)
def test_folder_is_found_by_path_and_by_url(shards, folder):
    assert find_folder(shards) == Path(folder)


def test_home_is_that_of_the_user(monkeypatch):
    monkeypatch.setenv("HOME", "/people/ada")
    assert find_folder("~/set") == Path("/people/ada/set")


@pytest.mark.parametrize(
    "shards", ["http://host/set", "https://host/set", "s3://b/set", "gs://b", "pipe:cat set/{name}"]
)
def test_set_that_lies_elsewhere_has_no_folder(shards):
    assert find_folder(shards) is None


@pytest.mark.parametrize(
    ("shards", "sentence"),
    [
        ("ftp://host/set", f"data.shards takes a folder or a URL of {', '.join(SCHEMES)}, and not of ftp"),
        ("HTTP://host/set", "and not of HTTP"),
        ("pipe:cat set/manifest.json", "has no {name}"),
        ("file://host/set", "a folder of this machine"),
        ("file:///set%00", "holds a NUL character"),
    ],
)
def test_url_that_cannot_be_read_is_refused_with_what_is_allowed(shards, sentence):
    with pytest.raises(UserError, match=sentence):
        find_folder(shards)
