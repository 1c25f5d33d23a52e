"""Open 3D Shapes, a data set of six factors: rendered by a small ray caster, or read from the published 3dshapes.h5.

An image shows a room with a floor and two walls that meet in a corner, seen from an angle (orientation), and one of
four solids in its middle. Geometry depends only on scale, shape and orientation, and the three hues only colour it. So
each geometry is cast once. Sizes and order of the factors are those of the published file: floor hue 10, wall hue 10,
object hue 10, scale 8, shape 4, orientation 15. The last one changes fastest.
"""

import colorsys
import itertools
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from detaux.config.location import expand_path
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from detaux.runtime.readers import describe_damage
from shards.records import Records, Source, read_resized

FACTORS = {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15}
SHAPES = ("cube", "cylinder", "sphere", "capsule")
SUPERSAMPLING = 2
WALL_DISTANCE = 2.7
CAMERA = np.array([0.0, -5.2, 2.6])
TARGET = np.array([0.0, 0.0, 0.72])
FIELD_OF_VIEW = 0.31  # tangent of half the angle
LIGHT = np.array([-0.45, -0.7, 1.0]) / np.linalg.norm([-0.45, -0.7, 1.0])
NEAR = 4.0  # distance at which the room is brightest
MISS = np.inf


def pick_values(factor: str, count: int) -> np.ndarray:
    """Pick `count` of a factor's values, evenly spread: a hue's over the circle, others from end to end.

    A single value of a factor other than a hue is the middle one.
    """
    size = FACTORS[factor]
    if factor.endswith("hue"):
        return np.arange(count) * size // count
    return np.round(np.linspace(0, size - 1, count)).astype(int) if count > 1 else np.array([size // 2])


def open_shapes3d(config: DataConfig) -> Source:
    """Open the sub-grid `data.grid`, rendered at `data.side` or read from the file that `data.path` names."""
    sizes = list(FACTORS.values())
    if len(config.grid) != len(sizes) or any(
        not 1 <= have <= most for have, most in zip(config.grid, sizes, strict=True)
    ):
        raise UserError(f"data.grid={config.grid} is not six numbers of at least 1 and at most {sizes}.")
    path = config.path
    values = [pick_values(name, count) for name, count in zip(FACTORS, config.grid, strict=True)]
    factors = np.array(list(itertools.product(*(range(len(value)) for value in values))), dtype=np.int64)
    names = {name: len(value) for name, value in zip(FACTORS, values, strict=True)}
    return Source(
        name="shapes3d",
        factors=names,
        value_names={name: [str(index) for index in range(size)] for name, size in names.items()},
        default_principal="scale",
        count=len(factors),
        factor_values=factors,
        published_split=None,
        read=lambda: (
            _read_file(expand_path(path, "data.path"), values, config.side) if path else _render(values, config.side)
        ),
    )


def _render(values: list[np.ndarray], side: int) -> Iterator[Records]:
    """Render blocks in grid order, one per (floor, wall) pair of hues."""
    floors, walls, objects, *geometries = values
    # [G, S, S, 3]: how much of the floor's, the wall's and the solid's colour each pixel shows
    weights = np.stack(
        [
            _weigh_parts(*cast_geometry(scale / 7, SHAPES[shape], orientation / 14, side), side)
            for scale, shape, orientation in itertools.product(*geometries)
        ]
    )
    for floor, wall in itertools.product(floors, walls):
        palettes = [np.array([_rgb(floor), _rgb(wall), _rgb(hue)], dtype=np.float32) for hue in objects]
        yield Records(np.concatenate([np.rint(weights @ palette * 255).astype(np.uint8) for palette in palettes]))


def _rgb(hue: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(hue / 10, 1.0, 1.0)


def _weigh_parts(kind: np.ndarray, shade: np.ndarray, side: int) -> np.ndarray:
    """Compute the mean brightness of each part in each pixel, [S, S, 3].

    Colour is linear in it, so fine pixels are pooled before they are coloured.
    """
    fine = np.where(kind[..., None] == np.arange(3), shade[..., None], 0.0)
    pooled = fine.reshape(side, SUPERSAMPLING, side, SUPERSAMPLING, 3).mean((1, 3))
    return pooled.astype(np.float32)


def cast_geometry(scale: float, shape: str, orientation: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what each fine pixel sees (0 floor, 1 wall, 2 object) and how bright it is.

    scale and orientation are in [0, 1]: the solid's size, and the room's turn from -30 to 30 degrees.
    """
    fine = side * SUPERSAMPLING
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    right, up = np.meshgrid(axis * FIELD_OF_VIEW, -axis * FIELD_OF_VIEW)
    forward = (TARGET - CAMERA) / np.linalg.norm(TARGET - CAMERA)
    side_axis = np.cross(forward, [0.0, 0.0, 1.0])
    side_axis /= np.linalg.norm(side_axis)
    rays = forward + right[..., None] * side_axis + up[..., None] * np.cross(side_axis, forward)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    # the camera turns about the room's vertical axis, so the room and the solid seem to turn
    angle = np.deg2rad(-30 + 60 * orientation)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    rays, origin, light = rays @ turn.T, turn @ CAMERA, turn @ LIGHT

    distance, kind, normal = _cast_room(origin, rays)
    object_distance, object_normal = SOLIDS[shape](origin, rays, 0.45 + 0.55 * scale)
    is_object = object_distance < distance
    kind = np.where(is_object, 2, kind)
    normal = np.where(is_object[..., None], object_normal, normal)
    lambert = np.maximum(0.0, normal @ light)
    dimming = 1.0 - 0.045 * np.clip(distance - NEAR, 0.0, None)  # the room darkens with depth, so its turn shows
    room = np.where(kind == 0, 0.98, 0.5 + 0.55 * lambert) * dimming
    return kind, np.where(is_object, 0.35 + 0.65 * lambert, room).clip(0.0, 1.0)


def _cast_room(origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest of the floor z = 0 and the walls x + y = c and y - x = c, which meet behind the solid.

    Return distance, kind and normal.
    """
    planes = [
        (np.array([0.0, 0.0, 1.0]), 0.0, 0),
        (np.array([1.0, 1.0, 0.0]) / np.sqrt(2), WALL_DISTANCE, 1),
        (np.array([-1.0, 1.0, 0.0]) / np.sqrt(2), WALL_DISTANCE, 1),
    ]
    distance = np.full(rays.shape[:2], MISS)
    kind = np.ones(rays.shape[:2], dtype=np.int64)
    normal = np.zeros_like(rays)
    for axis, offset, label in planes:
        slope = rays @ axis
        hit = np.divide(offset - origin @ axis, slope, out=np.full(slope.shape, MISS), where=np.abs(slope) > 1e-9)
        nearer = (hit > 1e-6) & (hit < distance)
        distance = np.where(nearer, hit, distance)
        kind = np.where(nearer, label, kind)
        normal = np.where(nearer[..., None], axis if label == 0 else -axis, normal)  # towards the room
    return distance, kind, normal


def _nearest(*hits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    distance, normal = hits[0]
    for other_distance, other_normal in hits[1:]:
        nearer = other_distance < distance
        distance = np.where(nearer, other_distance, distance)
        normal = np.where(nearer[..., None], other_normal, normal)
    return distance, normal


def _cast_box(origin: np.ndarray, rays: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    half = 0.62 * size
    low, high = np.array([-half, -half, 0.0]), np.array([half, half, 2 * half])
    safe = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    first, second = (low - origin) / safe, (high - origin) / safe
    near, far = np.minimum(first, second), np.maximum(first, second)
    axis = near.argmax(-1)
    entry = near.max(-1)
    hits = (entry < far.min(-1)) & (entry > 0)
    normal = np.zeros_like(rays)
    np.put_along_axis(normal, axis[..., None], -np.sign(np.take_along_axis(rays, axis[..., None], -1)), -1)
    return np.where(hits, entry, MISS), normal


def _cast_sphere_at(
    origin: np.ndarray, rays: np.ndarray, radius: float, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    offset = origin - centre
    along = rays @ offset
    inside = along**2 - (offset @ offset - radius**2)
    distance = -along - np.sqrt(np.maximum(inside, 0.0))
    hits = (inside > 0) & (distance > 0)
    point = origin + np.where(hits, distance, 0.0)[..., None] * rays
    return np.where(hits, distance, MISS), (point - centre) / radius


def _cast_tube(
    origin: np.ndarray, rays: np.ndarray, radius: float, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find where rays hit the side of an upright cylinder between two heights: distance and normal."""
    a = (rays[..., :2] ** 2).sum(-1)
    b = rays[..., :2] @ origin[:2]
    inside = b**2 - a * (origin[:2] @ origin[:2] - radius**2)
    distance = (-b - np.sqrt(np.maximum(inside, 0.0))) / np.maximum(a, 1e-12)
    point = origin + distance[..., None] * rays
    hits = (inside > 0) & (distance > 0) & (point[..., 2] >= low) & (point[..., 2] <= high)
    normal = np.concatenate([point[..., :2] / radius, np.zeros_like(point[..., :1])], axis=-1)
    return np.where(hits, distance, MISS), normal


def _cast_cylinder(origin: np.ndarray, rays: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    radius, height = 0.58 * size, 1.35 * size
    lid = np.where(np.abs(rays[..., 2]) < 1e-9, MISS, (height - origin[2]) / rays[..., 2])
    point = origin + np.where(np.isfinite(lid), lid, 0.0)[..., None] * rays
    hits = (lid > 0) & ((point[..., :2] ** 2).sum(-1) <= radius**2)
    top = np.where(hits, lid, MISS), np.broadcast_to(np.array([0.0, 0.0, 1.0]), rays.shape)
    return _nearest(_cast_tube(origin, rays, radius, 0.0, height), top)


def _cast_sphere(origin: np.ndarray, rays: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    radius = 0.72 * size
    return _cast_sphere_at(origin, rays, radius, np.array([0.0, 0.0, radius]))


def _cast_capsule(origin: np.ndarray, rays: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    radius, height = 0.42 * size, 1.75 * size
    return _nearest(
        _cast_tube(origin, rays, radius, radius, height - radius),
        _cast_sphere_at(origin, rays, radius, np.array([0.0, 0.0, radius])),
        _cast_sphere_at(origin, rays, radius, np.array([0.0, 0.0, height - radius])),
    )


SOLIDS = {"cube": _cast_box, "cylinder": _cast_cylinder, "sphere": _cast_sphere, "capsule": _cast_capsule}


def _read_file(path: Path, values: list[np.ndarray], side: int) -> Iterator[Records]:
    """Read blocks of the published HDF5 file in grid order, one per (floor, wall) pair of hues."""
    sizes = list(FACTORS.values())
    total = int(np.prod(sizes))
    if not path.is_file():
        raise UserError(f"data.path={path} does not exist; give the published 3dshapes.h5, or null to render.")
    try:
        with h5py.File(path, "r") as file:
            images = file["images"]
            if images.shape != (total, 64, 64, 3) or images.dtype != np.uint8:
                raise UserError(
                    f"{path}: images are {images.dtype} {images.shape}; uint8 ({total}, 64, 64, 3) is expected."
                )
            rest = np.array(list(itertools.product(*values[2:])))
            for floor, wall in itertools.product(*values[:2]):
                start = int(np.ravel_multi_index((floor, wall, 0, 0, 0, 0), sizes))
                block = images[start : start + int(np.prod(sizes[2:]))]
                yield from read_resized(block[np.ravel_multi_index(rest.T, sizes[2:])], side)
    except (OSError, KeyError, AttributeError) as error:
        raise UserError(f"{describe_damage(path, 'published 3dshapes.h5', error)}.") from None
