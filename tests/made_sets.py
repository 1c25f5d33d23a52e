"""Write small files in the exact formats in which the data sets of the paper's tables are published.

Each picture shows its class as a bright square at one of twelve places, and a hidden factor as one of three colours of its
background, which has nothing to do with the class.
"""

import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

COLOURS = np.array([[150, 40, 40], [40, 140, 40], [40, 40, 160]])
CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def draw_picture(draw, place, hidden, width=32, height=32):
    """A noisy picture, uint8 [height, width, 3]."""
    picture = COLOURS[hidden] + draw.integers(-20, 21, (height, width, 3))
    row, column = divmod(place, 4)
    top, left = height * (row + 1) // 5, width * (column + 1) // 6
    picture[top : top + height // 5, left : left + width // 6] = 230
    return picture.clip(0, 255).astype(np.uint8)


def draw_pictures(draw, labels):
    return np.stack([draw_picture(draw, label, draw.integers(3)) for label in labels])


def encode_cifar10(images, labels):
    """Records of CIFAR-10's binary version: the label and three planes of colour."""
    return np.concatenate(
        [np.asarray(labels, np.uint8)[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1
    ).tobytes()


def make_cifar10(per_batch=60, tests=60):
    """(files by name, images, labels) of the binary version, the five training batches first."""
    draw, files, images, labels = np.random.default_rng(0), {}, [], []
    for name, count in (
        *((f"data_batch_{number}.bin", per_batch) for number in range(1, 6)),
        ("test_batch.bin", tests),
    ):
        labels.append(np.arange(count) % 10)
        images.append(draw_pictures(draw, labels[-1]))
        files[name] = encode_cifar10(images[-1], labels[-1])
    files["batches.meta.txt"] = "\n".join([*CIFAR10_NAMES, "", ""]).encode()
    return files, np.concatenate(images), np.concatenate(labels)


def write_tar(path, files, folder):
    """Write a gzipped tar as the authors did: a folder and its files."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        place = tarfile.TarInfo(folder)
        place.type = tarfile.DIRTYPE
        archive.addfile(place)
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_cifar10(folder, **sizes):
    """Write cifar-10-binary.tar.gz and return its path."""
    return write_tar(folder / "cifar-10-binary.tar.gz", make_cifar10(**sizes)[0], "cifar-10-batches-bin")


def write_svhn(folder, train=300, test=100):
    """Write train_32x32.mat and test_32x32.mat. Return the images and digits of both, the training part first."""
    draw, images, digits = np.random.default_rng(0), [], []
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("test", test)):
        digits.append(np.arange(count) % 10)
        images.append(draw_pictures(draw, digits[-1]))
        arrays = {
            "X": images[-1].transpose(1, 2, 3, 0),
            "y": np.where(digits[-1] == 0, 10, digits[-1]).astype(np.uint8),
        }
        savemat(folder / f"{name}_32x32.mat", {**arrays, "y": arrays["y"][:, None]}, do_compression=True)
    return np.concatenate(images), np.concatenate(digits)


def annotate(fields):
    """A structure array [1, N] as MATLAB writes it, from the fields of each entry."""
    array = np.empty((1, len(fields)), dtype=[(name, object) for name in fields[0]])
    for index, entry in enumerate(fields):
        array[0, index] = tuple(entry.values())
    return array


def write_cars(root, classes=4, train=24, test=9, width=300, height=240):
    """Write devkit, cars_train and cars_test, with `train` and `test` pictures of each class."""
    draw = np.random.default_rng(0)
    (root / "devkit").mkdir(parents=True)
    names = np.array([f"Maker Model {number} Sedan 2012" for number in range(classes)], dtype=object)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names[None]})
    for split, count, file in (("train", train, "cars_train_annos"), ("test", test, "cars_test_annos_withlabels")):
        (root / f"cars_{split}").mkdir()
        entries = []
        for number in range(classes * count):
            label, name = number % classes, f"{number + 1:05d}.jpg"
            picture = draw_picture(draw, label, draw.integers(3), width, height)
            Image.fromarray(picture).save(root / f"cars_{split}" / name, quality=90)
            box = dict(
                zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), map(np.uint16, (5, 6, width, height)), strict=True)
            )
            entries.append({**box, "class": np.uint8(label + 1), "fname": name})
        savemat(root / "devkit" / f"{file}.mat", {"annotations": annotate(entries)})
    return root


def write_single_cars(root, classes=3, train=5, test=3):
    """Write the other published layout: cars_annos.mat and car_ims."""
    draw, entries = np.random.default_rng(0), []
    (root / "car_ims").mkdir(parents=True)
    for number in range(classes * (train + test)):
        label, name = number % classes, f"car_ims/{number + 1:06d}.jpg"
        Image.fromarray(draw_picture(draw, label, 0, 60, 48)).save(root / name)
        entries.append(
            {"relative_im_path": name, "class": np.uint8(label + 1), "test": np.uint8(number // classes < test)}
        )
    names = np.array([f"Car {number}" for number in range(classes)], dtype=object)
    savemat(root / "cars_annos.mat", {"annotations": annotate(entries), "class_names": names[None]})
    return root


def write_faces(root, persons=24, width=240, height=300):
    """Write portraits with the names of FACES: six expressions and two sets for each person."""
    draw = np.random.default_rng(0)
    root.mkdir(parents=True)
    for person in range(persons):
        age, gender = "ymo"[person % 3], "mf"[person % 2]
        for place, (expression, take) in enumerate(itertools.product("adfhns", "ab")):
            picture = draw_picture(draw, place, person % 3, width, height)
            Image.fromarray(picture).save(root / f"{person + 1:03d}_{age}_{gender}_{expression}_{take}.jpg", quality=90)
    return Path(root)
