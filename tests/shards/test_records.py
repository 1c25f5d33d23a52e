from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_sets import write_cifar10, write_svhn
from PIL import Image

from detaux.config.schema import DataConfig
from shards.datasets import open_source
from shards.records import BLOCK_BYTES, BLOCK_IMAGES, read_resized

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(230, 32, 32, 3), (230, 28, 28)])
@pytest.mark.parametrize("side", [8, 32, 224])
def test_blocks_equal_pictures_resized_one_by_one(shape: tuple[int, ...], side: int) -> None:
    images = DRAW.integers(0, 256, shape, dtype=np.uint8)
    found = np.concatenate([records.images for records in read_resized(images, side)])
    assert found.shape == (230, side, side, 3)
    for image, one in zip(found, images, strict=True):
        colours = Image.fromarray(one).convert("RGB")
        np.testing.assert_array_equal(image, colours.resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [8, 32, 224, 512])
def test_block_holds_at_most_its_bytes_and_images(side: int) -> None:
    images = np.zeros((4200, side, side, 3), np.uint8)  # zeros that nobody touches take no memory
    sizes = [len(records.images) for records in read_resized(images, side)]
    assert sum(sizes) == 4200
    assert max(sizes) == min(BLOCK_IMAGES, BLOCK_BYTES // (3 * side**2))


@pytest.mark.parametrize("name", ["cifar10", "svhn", "digits"])
def test_blocks_of_a_larger_side_hold_fewer_pictures(
    make_data: Callable[..., DataConfig], tmp_path: Path, name: str
) -> None:
    write_cifar10(tmp_path, per_batch=100, tests=20)
    write_svhn(tmp_path, train=100, test=20)
    keys = [] if name == "digits" else [f"data.path={tmp_path}"]
    blocks = open_source(make_data(name, *keys, "data.side=224")).read()
    assert len(next(blocks).images) == 83
