import itertools
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.datasets.shapes3d import FACTORS, SHAPES, cast_geometry, open_shapes3d, pick_values
from shards.records import Source

MakeData = Callable[..., DataConfig]
ReadImages = Callable[[Source], np.ndarray]
FLOOR, WALL, SOLID = 0, 1, 2


@pytest.mark.parametrize("column", range(6), ids=list(FACTORS))
def test_every_factor_changes_pixels_between_neighbouring_values(
    make_data: MakeData, read_images: ReadImages, column: int
) -> None:
    grid = [1] * 6
    grid[column] = list(FACTORS.values())[column]
    images = read_images(open_shapes3d(make_data("shapes3d", f"data.grid={grid}", "data.side=32"))).astype(int)
    assert len(images) == grid[column]
    for first, second in itertools.pairwise(images):
        changed = (np.abs(first - second).max(-1) > 8).mean()
        assert changed > 0.01, f"{list(FACTORS)[column]} changes {changed:.1%} of the pixels"


def test_images_of_a_grid_are_all_different(make_data: MakeData, read_images: ReadImages) -> None:
    source = open_shapes3d(make_data("shapes3d", "data.grid=[2,2,2,3,4,3]"))
    images = read_images(source).reshape(source.count, -1)
    assert len(np.unique(images, axis=0)) == source.count == 2 * 2 * 2 * 3 * 4 * 3


def test_sub_grid_equals_the_same_scenes_of_a_larger_grid(make_data: MakeData, read_images: ReadImages) -> None:
    small, large = [2, 5, 1, 2, 4, 3], [10, 10, 2, 8, 4, 5]
    source = open_shapes3d(make_data("shapes3d", f"data.grid={small}"))
    picked = [pick_values(name, count) for name, count in zip(FACTORS, small, strict=True)]
    offered = [pick_values(name, count) for name, count in zip(FACTORS, large, strict=True)]
    assert all(set(few) <= set(many) for few, many in zip(picked, offered, strict=True))
    index = [
        [list(many).index(few[value]) for few, many, value in zip(picked, offered, row, strict=True)]
        for row in source.factor_values
    ]
    whole = read_images(open_shapes3d(make_data("shapes3d", f"data.grid={large}")))
    places = np.ravel_multi_index(np.array(index).T, large)
    np.testing.assert_array_equal(read_images(source), whole[places])


def test_values_of_a_sub_grid_are_spread_evenly_over_the_range() -> None:
    np.testing.assert_array_equal(pick_values("floor_hue", 5), [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(pick_values("scale", 8), range(8))
    np.testing.assert_array_equal(pick_values("orientation", 3), [0, 7, 14])


@pytest.mark.parametrize("shape", SHAPES)
def test_solid_hides_the_room_and_grows_with_scale(shape: str) -> None:
    areas = []
    for scale in np.linspace(0, 1, 8):
        kind, _ = cast_geometry(scale, shape, 0.5, 32)
        centre = kind[len(kind) // 2 :, len(kind) // 2 - 1 : len(kind) // 2 + 1]
        assert (centre == SOLID).any()
        areas.append((kind == SOLID).mean())
    assert all(small < large for small, large in itertools.pairwise(areas))
    assert areas[-1] < 0.5


def test_room_shows_floor_below_and_walls_above_in_every_view() -> None:
    for orientation in np.linspace(0, 1, 15):
        kind, _ = cast_geometry(0.0, "sphere", orientation, 32)
        assert (kind[0] == WALL).all()
        assert (kind[-1] == FLOOR).all()


def test_solid_stands_before_the_wall_that_it_overlaps() -> None:
    bare, _ = cast_geometry(0.0, "cube", 0.5, 32)
    tall, _ = cast_geometry(1.0, "capsule", 0.5, 32)
    hidden = (tall == SOLID) & (bare != SOLID)
    assert (bare[hidden] == WALL).any()
    assert (bare[hidden] == FLOOR).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_solid_is_shaded_not_flat(shape: str) -> None:
    kind, shade = cast_geometry(1.0, shape, 0.25, 32)
    lit = shade[kind == SOLID]
    assert lit.max() - lit.min() > 0.15
    assert 0.0 < shade.min() <= shade.max() <= 1.0


def test_hue_recolours_only_its_own_part(make_data: MakeData, read_images: ReadImages) -> None:
    floors = read_images(open_shapes3d(make_data("shapes3d", "data.grid=[2,1,1,1,1,1]"))).astype(int)
    walls = read_images(open_shapes3d(make_data("shapes3d", "data.grid=[1,2,1,1,1,1]"))).astype(int)
    by_floor = np.abs(floors[0] - floors[1]).max(-1) > 0
    by_wall = np.abs(walls[0] - walls[1]).max(-1) > 0
    assert by_floor[-1].all()
    assert not by_floor[0].any()
    assert by_wall[0].all()
    assert not by_wall[-1].any()


def test_quickstart_grid_renders_in_seconds(make_data: MakeData, read_images: ReadImages) -> None:
    source = open_shapes3d(make_data("shapes3d", "data.grid=[5,5,10,4,4,1]", "data.side=32"))
    images = read_images(source)
    assert images.shape == (4000, 32, 32, 3)
    assert images.dtype == np.uint8


@pytest.mark.parametrize("grid", ["[5,5,10,4,4]", "[11,5,10,4,4,1]", "[5,5,10,4,4,0]"])
def test_impossible_grid_is_refused(make_data: MakeData, grid: str) -> None:
    with pytest.raises(UserError, match=r"data\.grid"):
        open_shapes3d(make_data("shapes3d", f"data.grid={grid}"))


def write_h5(path: Path, total: int = 480_000) -> None:
    """A sparse stand-in for 3dshapes.h5: only the chunks of floor hue 0 and wall hue 0 hold numbers."""
    sizes = list(FACTORS.values())
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (total, 64, 64, 3), "uint8", chunks=(480, 64, 64, 3), fillvalue=0)
        labels = file.create_dataset("labels", (total, 6), "float64", chunks=(4800, 6), fillvalue=0)
        index = np.arange(4800)
        images[:4800] = np.repeat(index % 251, 64 * 64 * 3).astype(np.uint8).reshape(4800, 64, 64, 3)
        labels[:4800] = np.array(np.unravel_index(index, sizes)).T


def test_published_file_is_read_in_its_factor_order(
    make_data: MakeData, read_images: ReadImages, tmp_path: Path
) -> None:
    write_h5(tmp_path / "3dshapes.h5")
    config = make_data("shapes3d", f"data.path={tmp_path}/3dshapes.h5", "data.grid=[1,1,2,2,4,3]", "data.side=64")
    source = open_shapes3d(config)
    images = read_images(source)
    values = [pick_values(name, count) for name, count in zip(FACTORS, config.grid, strict=True)]
    scenes = np.array([[value[i] for value, i in zip(values, row, strict=True)] for row in source.factor_values])
    scenes[:, :2] = [values[0][0], values[1][0]]
    expected = np.ravel_multi_index(scenes.T, list(FACTORS.values()))
    np.testing.assert_array_equal(images[:, 5, 5, 0], np.where(expected < 4800, expected % 251, 0))
    assert images[:, 0, 0, 0].max() > 0


def test_published_file_is_resized_to_side(make_data: MakeData, read_images: ReadImages, tmp_path: Path) -> None:
    write_h5(tmp_path / "3dshapes.h5")
    config = make_data("shapes3d", f"data.path={tmp_path}/3dshapes.h5", "data.grid=[1,1,1,2,2,2]")
    assert read_images(open_shapes3d(config)).shape == (8, 16, 16, 3)


def test_file_that_is_not_the_published_one_is_refused(
    make_data: MakeData, read_images: ReadImages, tmp_path: Path
) -> None:
    write_h5(tmp_path / "short.h5", total=4800)
    (tmp_path / "text.h5").write_text("no HDF5")
    for name in ("short.h5", "text.h5", "absent.h5"):
        config = make_data("shapes3d", f"data.path={tmp_path / name}", "data.grid=[1,1,1,2,2,2]")
        with pytest.raises(UserError, match=name):
            read_images(open_shapes3d(config))
