"""Declare the keys of the data: what the shards are made of, and how they are read."""

import string
from dataclasses import dataclass, field
from typing import Any, Literal

from detaux.config.key import key


@dataclass(frozen=True)
class GlyphsConfig:
    letters: str = key(string.ascii_uppercase, "glyphs: letters that are drawn, in the order of their classes")
    copies: int = key(18, "glyphs: pictures of each letter in each font", 1, 10**6)
    jitter: float = key(
        1.0, "glyphs: how much size, place and brightness vary from copy to copy; 0 draws all copies alike", 0.0, 3.0
    )


@dataclass(frozen=True)
class PaintConfig:
    what: Literal["off", "hue", "background", "corner"] = key(
        "off",
        "what gets a colour for each class: the bright object, the dark background of grey pictures, or a square in a corner; "
        "the colour is the known factor `paint`",
    )
    fraction: float = key(
        0.95,
        "share of the training and validation images of a class that have its colour; others have another one",
        0.0,
        1.0,
    )


@dataclass(frozen=True)
class DataConfig:
    source: Literal[
        "shapes3d", "glyphs", "fashion_mnist", "digits", "cifar10", "svhn", "cars", "faces", "folder", "webdataset"
    ] = key("shapes3d", "builder that makes the shards")
    path: str | None = key(None, "file or folder that the builder reads; null if it needs none")
    shards: str | None = key(
        None,
        "existing shard set to use, a folder or a URL (http, https, s3, gs, file, pipe); null builds RUN/shards",
        neutral=True,
    )
    remote_cache: str | None = key(
        None,
        "folder that keeps what is fetched from a URL; null: detaux/shards in $XDG_CACHE_HOME or ~/.cache",
        neutral=True,
    )
    remote_timeout: float = key(
        30.0, "seconds to wait for a byte from a URL before it is tried again", 0.1, 3600.0, neutral=True
    )
    principal: Any = key(
        "class", "principal label: a factor's name, or a mapping from new class to old classes", is_text=True
    )
    side: int = key(32, "image side in pixels", 8, 512)
    grid: list[int] = key(
        [10, 10, 10, 8, 4, 15], "shapes3d: number of floor, wall and object hues, scales, shapes, orientations"
    )
    glyphs: GlyphsConfig = field(default_factory=GlyphsConfig)
    layout: Literal["packed", "standard"] = key("packed", "a block of samples per tar member, or one sample per member")
    block_samples: int = key(256, "samples in a block, the unit of reading", 1, 65536)
    shard_samples: int = key(8192, "samples in a tar", 1, 10**7)
    split: Literal["random", "combination", "published", "group"] = key(
        "random",
        "test split: random samples, unseen floor-wall hue pairs (paper, section 5.1), the data set's own, or whole groups "
        "such as the persons of faces",
    )
    test_fraction: float = key(0.25, "share of samples held out for the reported split", 0.001, 0.9)
    validation_fraction: float = key(0.1, "share of the remaining samples used for every choice", 0.001, 0.9)
    split_seed: int = key(0, "seed of the split; kept apart from run.seed so that seeds share one split", 0, 2**31 - 1)
    grid_fraction: float = key(
        1.0,
        "share of the training and validation images of each class that are kept, drawn by data.split_seed",
        0.0001,
        1.0,
    )
    correlate: dict[str, float] = key(
        {},
        "mapping from a factor to the share of training and validation images in which it follows the principal label: its "
        "value is the label's number, modulo its number of values. Other images are left out until the share is reached",
        0.0,
        1.0,
    )
    paint: PaintConfig = field(default_factory=PaintConfig)
    noise: float = key(0.0, "share of pixels turned black or white (salt and pepper) on the device", 0.0, 1.0)
    denoise: bool = key(
        True,
        "with data.noise: the disentangler sees a black or white pixel as the mean of its other neighbours; mining always "
        "does",
    )
    labelled_fraction: float = key(
        1.0, "share of training images that keep their label; no stage sees the others", 0.0, 1.0
    )
    cache: Literal["auto", "device", "host", "none"] = key(
        "auto", "where a split is kept after its first pass", neutral=True
    )
    cache_bytes: int = key(
        4 * 2**30,
        "largest split that cache=auto keeps, and largest pool of pairs that is held, in bytes",
        0,
        neutral=True,
    )
    workers: int = key(
        0, "loader processes that decode; the order of samples does not depend on it", 0, 256, neutral=True
    )
    worker_timeout: float = key(
        300.0, "seconds that a loader process may take for a block before the run stops and says so", 0.1, neutral=True
    )
    window: int = key(4096, "samples shuffled together, and recent samples a partner is drawn from", 2, 10**7)
    max_bad_fraction: float = key(0.01, "share of unreadable samples that is skipped before the run stops", 0.0, 1.0)
