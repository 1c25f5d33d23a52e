import io
import os
import shutil

import numpy as np
import pytest
import torch

from detaux.data import file_images
from detaux.data.file_images import FileImages, FileSpan, StoredFile
from detaux.errors import UserError

SHAPE = (2, 2, 3)


@pytest.fixture
def write(tmp_path):
    """write(name, rows, lead): a file of `lead` bytes and then random images; returns the file and the images."""

    def write_file(name, rows, lead=7):
        images = np.random.default_rng(len(name)).integers(0, 256, (rows, *SHAPE), dtype=np.uint8)
        path = tmp_path / name
        path.write_bytes(bytes(lead) + images.tobytes() + b"what follows")
        return StoredFile.describe(path, path.stat()), torch.from_numpy(images)

    return write_file


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
    file, stored = write("a", 2)
    images = FileImages.locate(file, 7, (2, *SHAPE))
    batch = torch.full((4, *SHAPE), 9, dtype=torch.uint8)
    images.fill(batch, torch.tensor([3, 1]), torch.tensor([0, 1]))
    assert torch.equal(batch[[3, 1]], stored)
    assert (batch[[0, 2]] == 9).all()


def test_file_that_became_shorter_is_named(write):
    file, _ = write("a", 2)
    images = FileImages.locate(file, 7, (2, *SHAPE))
    take(images, [0])
    os.truncate(file.path, 20)
    with pytest.raises(UserError, match=r"a became shorter while it was in use: it ends at byte 20\."):
        take(images, [0, 1])


def test_file_that_is_gone_is_named(write):
    file, _ = write("a", 2)
    file.path.unlink()
    with pytest.raises(UserError, match="a cannot be opened: No such file"):
        take(FileImages.locate(file, 0, (1, *SHAPE)), [0])


def test_reading_that_fails_is_told_with_the_place(write, monkeypatch):
    file, _ = write("a", 2)

    def fail(*arguments):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(UserError, match="a cannot be read at byte 19: Input/output error"):
        take(FileImages.locate(file, 7, (2, *SHAPE)), [1])


def test_reads_that_give_a_part_are_gone_on_with(write, monkeypatch):
    file, stored = write("a", 2)
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda number, buffers, offset: whole(number, [buffers[0].cast("B")[:5]], offset))
    assert torch.equal(take(FileImages.locate(file, 7, (2, *SHAPE)), [1, 0]), stored[[1, 0]])


def test_another_file_of_the_name_is_refused_and_never_mixed_in(write):
    file, stored = write("a", 2)
    images = FileImages.locate(file, 7, (2, *SHAPE))
    take(images, [0])
    other, others = write("other", 2)
    shutil.move(other.path, file.path)
    assert torch.equal(take(images, [0, 1]), stored)  # the one that is open
    renewed = StoredFile.describe(file.path, file.path.stat())
    assert torch.equal(take(FileImages.locate(renewed, 7, (2, *SHAPE)), [0, 1]), others)
    file_images._open.cache_clear()
    with pytest.raises(UserError, match="a was changed while it was in use; start the command again"):
        take(images, [0])


def test_files_beyond_the_number_kept_open_are_closed(write, monkeypatch):
    monkeypatch.setattr(file_images, "_open", file_images.lru_cache(2)(file_images._OpenFile))
    written = [write(f"file{number:02}", 1) for number in range(8)]
    images = FileImages(8, SHAPE)
    for row, (file, _) in enumerate(written):
        images.put(row, FileImages.locate(file, 7, (1, *SHAPE)))
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
    with pytest.raises(ValueError, match="no byte -1"):
        FileSpan(io.BytesIO(bytes(100)), 10, 30).seek(-1)
