"""Build the loaders of other libraries for bench_stream.py, each set up as its documentation shows, on local files.

A case is a name and a function that yields an epoch of (uint8 images, labels) batches.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

Batches = Iterable[tuple[Tensor, Tensor]]
Cases = dict[str, Callable[[], Batches]]
CHUNK = "64MB"  # litdata's default


def read_images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the files that bench_stream has written for every writer: images uint8 [N, H, W, C] and labels int64 [N]."""
    return np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy")


def get_options(workers: int) -> dict[str, Any]:
    """Return DataLoader options that keep loader processes alive, so that their start is not measured."""
    return {"num_workers": workers, "persistent_workers": workers > 0}


def stack(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Collate samples with images that numpy reads."""
    return {
        "image": torch.from_numpy(np.stack([np.asarray(sample["image"]) for sample in samples])),
        "class": torch.tensor([sample["class"] for sample in samples]),
    }


def stack_bytes(samples: list[dict[str, Any]], side: int) -> dict[str, Tensor]:
    """Collate samples with images as the bytes of their pixels."""
    images = [np.frombuffer(sample["image"], np.uint8).reshape(side, side, 3) for sample in samples]
    return {
        "image": torch.from_numpy(np.stack(images)),
        "class": torch.tensor([sample["class"] for sample in samples]),
    }


def iterate(loader: Iterable[dict[str, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in loader:
        yield batch["image"], batch["class"]


# webdataset


def build_stock(folder: Path, batch: int, workers: int, shard: int) -> Cases:
    """Write tars with one sample in each member group, and build the pipeline of WebDataset's README."""
    cases: Cases = {}
    images, labels = read_images(folder)
    for name, suffix, decode in (("PNG", "png", "rgb8"), ("npy", "npy", None)):
        paths = []
        for first in range(0, len(images), shard):
            paths.append(str(folder / f"{name}-{first // shard:03d}.tar"))
            with webdataset.TarWriter(paths[-1]) as writer:
                for index in range(first, min(first + shard, len(images))):
                    image = Image.fromarray(images[index]) if suffix == "png" else images[index]
                    writer.write({"__key__": f"{index:07d}", suffix: image, "cls": int(labels[index])})
        pipeline = webdataset.WebDataset(paths, shardshuffle=len(paths)).shuffle(1000)
        pipeline = (pipeline.decode(decode) if decode else pipeline.decode()).to_tuple(suffix, "cls").batched(batch)
        loader = DataLoader(pipeline, batch_size=None, **get_options(workers))
        cases[f"stock webdataset, {name} members"] = partial(_iterate_stock, loader)
    return cases


def _iterate_stock(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in loader:
        yield torch.as_tensor(images), torch.as_tensor(labels)


# litdata: ld.optimize, StreamingDataset, StreamingDataLoader

LITDATA_FORMS = {"JPEG": None, "uint8 arrays": None, "bytes": stack_bytes}


def make_litdata_sample(index: int, folder: Path, form: str) -> dict[str, Any]:
    """Return the sample that `ld.optimize` stores for an image. It runs in other processes, so it reads from disk."""
    import litdata

    images, labels = read_images(folder)
    array = np.array(images[index])
    image = {
        "JPEG": lambda: litdata.Image(array=array, quality=95, format="jpeg"),
        "uint8 arrays": lambda: array,
        "bytes": array.tobytes,
    }[form]()
    return {"image": image, "class": int(labels[index])}


def build_litdata(folder: Path, batch: int, workers: int) -> Cases:
    """Build litdata's cases: JPEG of quality 95, as its README shows for images, and unencoded arrays and bytes."""
    import litdata

    cases: Cases = {}
    images, _ = read_images(folder)
    for form, collate in LITDATA_FORMS.items():
        output = folder / f"litdata-{form}"
        litdata.optimize(
            fn=partial(make_litdata_sample, folder=folder, form=form),
            inputs=list(range(len(images))),
            output_dir=str(output),
            num_workers=1,
            chunk_bytes=CHUNK,
            verbose=False,
        )
        dataset = litdata.StreamingDataset(str(output), shuffle=True, drop_last=True, seed=42)
        options = get_options(workers)
        if collate is not None:
            options["collate_fn"] = partial(collate, side=images.shape[1])
        loader = litdata.StreamingDataLoader(dataset, batch_size=batch, **options)
        cases[f"litdata {version('litdata')}, {form}"] = partial(iterate, loader)
    return cases


# mosaicml-streaming: MDSWriter, StreamingDataset, DataLoader


def build_streaming(folder: Path, batch: int, workers: int) -> Cases:
    """Build mosaicml-streaming's cases: its quick start's columns, and images as fixed-shape arrays and as bytes."""
    from streaming import MDSWriter, StreamingDataset

    cases: Cases = {}
    images, labels = read_images(folder)
    side = images.shape[1]
    forms = {
        "JPEG": ("jpeg", Image.fromarray, stack),
        "uint8 arrays": (f"ndarray:uint8:{side},{side},3", np.array, stack),
        "bytes": ("bytes", np.ndarray.tobytes, partial(stack_bytes, side=side)),
    }
    for form, (encoding, make, collate) in forms.items():
        output = str(folder / f"streaming-{form}")
        with MDSWriter(out=output, columns={"image": encoding, "class": "int"}) as writer:
            for image, label in zip(images, labels, strict=True):
                writer.write({"image": make(image), "class": int(label)})
        dataset = StreamingDataset(local=output, shuffle=True, batch_size=batch)
        loader = DataLoader(dataset, batch_size=batch, collate_fn=collate, **get_options(workers))
        cases[f"mosaicml-streaming {version('mosaicml-streaming')}, {form}"] = partial(iterate, loader)
    return cases


# package -> (module, builder)
OTHERS = {"litdata": ("litdata", build_litdata), "mosaicml-streaming": ("streaming", build_streaming)}


def build_others(folder: Path, batch: int, workers: int) -> Cases:
    """Build the cases of the installed libraries. For the others, print the command that installs them."""
    cases: Cases = {}
    for package, (module, build) in OTHERS.items():
        if find_spec(module) is None:
            print(f"left out: {package} is not installed; in an environment of its own: pip install {package}")
        else:
            cases |= build(folder, batch, workers)
    return cases
