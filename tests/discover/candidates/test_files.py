"""Facts of picture files: written with Pillow here, so what must be found is known."""

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from detaux.config import load_config
from detaux.data.split import Split
from detaux.discover.candidates.files import propose_files
from detaux.errors import UserError

COUNT = 60


def save(file, number):
    """Save a picture whose camera, format and size follow its number, each in another way."""
    image = Image.new("RGB", (20, 20) if number % 3 else (24, 20), (number, 0, 0))
    exif = Image.Exif()
    if number % 2:
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Acme", "One\0"
    elif number == 0:  # a camera with a single picture
        exif[ExifTags.Base.Make] = "Rare"
    image.save(file, "JPEG" if number < 40 else "PNG", exif=exif)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(COUNT):
        save(tmp_path / "a" / f"{number}.pic", number)
    return tmp_path


class Names:
    """Stand for the manifest: one picture has another key than its name."""

    names = {"other key": "a/1.pic"}  # noqa: RUF012


def propose(folder, keys=None):
    keys = keys or [f"a/{number}.pic" if number != 1 else "other key" for number in range(COUNT)]
    split = Split(torch.zeros(len(keys), 8, 8, 3, dtype=torch.uint8), torch.zeros(len(keys)), keys, None)
    config = load_config(None, ["data.source=folder", f"data.path={folder}", "discover.min_cluster_size=10"])
    return {one.name: one for one in propose_files(split, Names, config)}


def test_each_fact_with_two_values_is_a_candidate(folder, capsys):
    found, number = propose(folder), np.arange(COUNT)
    assert set(found) == {"file_format", "file_size", "file_camera"}  # all pictures have the same mode
    np.testing.assert_array_equal(found["file_format"].clusters.labels, number >= 40)
    np.testing.assert_array_equal(found["file_size"].clusters.labels, number % 3 == 0)
    camera = found["file_camera"].clusters
    np.testing.assert_array_equal(camera.labels, np.where(number == 0, -1, 1 - number % 2))
    np.testing.assert_array_equal(camera.probability, number > 0)
    assert found["file_camera"].points_ND.shape == (COUNT, 3)  # two cameras, and the rest
    assert "camera of the files: Acme One (30), none (29), Rare (1)" in capsys.readouterr().out


def test_pictures_that_are_alike_in_all_facts_make_no_candidate(folder):
    assert propose(folder, [f"a/{number}.pic" for number in range(5, 36, 6)]) == {}


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside.jpg"])
def test_names_that_lead_out_of_the_folder_are_not_read(folder, name):
    save(folder.parent / "outside.jpg", 1)
    with pytest.raises(UserError, match=f"1 of 1 training images are not there, first {name}"):
        propose(folder, [name])


def test_a_picture_that_is_gone_or_damaged_is_named(folder):
    (folder / "a" / "2.pic").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"2\.pic can no longer be read"):
        propose(folder)
    (folder / "a" / "2.pic").unlink()
    with pytest.raises(UserError, match=r"1 of 60 training images are not there, first a/2\.pic; give data\.path"):
        propose(folder)
