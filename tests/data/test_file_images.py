import io
import os
import shutil

import numpy as np
import pytest
import torch

from detaux.data import file_images
from detaux.data.file_images import FileImages, FileSpan
from detaux.errors import UserError

SHAPE = (2, 2, 3)


@pytest.fixture
def write(tmp_path):
    """write(name, rows, lead): a file of `lead` bytes and then random images; returns its path and the images."""

    def write_file(name, rows, lead=7):
        images = np.random.default_rng(len(name)).integers(0, 256, (rows, *SHAPE), dtype=np.uint8)
        path = tmp_path / name
        path.write_bytes(bytes(lead) + images.tobytes() + b"what follows")
        return path, torch.from_numpy(images)

    yield write_file
    file_images._open.cache_clear()


def take(images, rows):
    batch = torch.zeros(len(rows), *SHAPE, dtype=torch.uint8)
    images.fill(batch, torch.arange(len(rows)), torch.tensor(rows))
    return batch


def test_images_of_several_files_come_in_the_order_asked_for(write):
    (one, first), (two, second) = write("a", 3), write("bc", 4, lead=0)
    images = FileImages(9, SHAPE)
    images.put(0, FileImages.locate(two, 0, (4, *SHAPE)))
    images.put(5, FileImages.locate(one, 7, (3, *SHAPE)))
    images.put(8, FileImages.locate(two, 12, (1, *SHAPE)))
    assert torch.equal(
        take(images, [6, 0, 3, 0, 7, 8]), torch.stack([first[1], *second[[0, 3, 0]], first[2], second[1]])
    )


def test_fill_writes_the_places_named_and_no_other(write):
    path, stored = write("a", 2)
    images = FileImages.locate(path, 7, (2, *SHAPE))
    batch = torch.full((4, *SHAPE), 9, dtype=torch.uint8)
    images.fill(batch, torch.tensor([3, 1]), torch.tensor([0, 1]))
    assert torch.equal(batch[[3, 1]], stored)
    assert (batch[[0, 2]] == 9).all()


def test_file_that_became_shorter_is_named(write):
    path, _ = write("a", 2)
    images = FileImages.locate(path, 7, (2, *SHAPE))
    os.truncate(path, 20)
    with pytest.raises(UserError, match=r"a became shorter while it was in use: it ends at byte 20\."):
        take(images, [0, 1])


def test_file_that_is_gone_or_no_file_is_named(write, tmp_path):
    missing = FileImages.locate(tmp_path / "gone", 0, (1, *SHAPE))
    with pytest.raises(UserError, match="gone cannot be opened: No such file"):
        take(missing, [0])
    with pytest.raises(UserError, match="cannot be read at byte 0: Is a directory"):
        take(FileImages.locate(tmp_path, 0, (1, *SHAPE)), [0])


def test_a_file_in_use_stays_the_same_when_another_takes_its_name(write):
    path, stored = write("a", 2)
    images = FileImages.locate(path, 7, (2, *SHAPE))
    take(images, [0])
    other, _ = write("other", 2)
    shutil.move(other, path)
    assert torch.equal(take(images, [0, 1]), stored)


def test_files_beyond_the_number_kept_open_are_closed(write, monkeypatch):
    monkeypatch.setattr(file_images, "_open", file_images.lru_cache(2)(file_images._OpenFile))
    written = [write(f"file{number:02}", 1) for number in range(8)]
    images = FileImages(8, SHAPE)
    for row, (path, _) in enumerate(written):
        images.put(row, FileImages.locate(path, 7, (1, *SHAPE)))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for row in (*range(8), *range(8)):
        assert torch.equal(take(images, [row])[0], written[row][1][0])
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_span_of_a_file_is_a_file_of_its_own():
    span = io.BufferedReader(FileSpan(io.BytesIO(bytes(range(100))), 10, 30), 8)
    assert span.read(5) == bytes(range(10, 15))
    assert span.seek(-4, os.SEEK_END) == 26
    assert span.read() == bytes(range(36, 40))
    assert span.read() == b""
    assert (span.seek(12), span.read(3)) == (12, bytes(range(22, 25)))
    assert (span.seek(50), span.read(1)) == (50, b"")
