"""Open Stanford Cars: 8,144 + 8,041 photographs of 196 models of cars, with MATLAB annotations (Krause et al., 2013).

The authors published two layouts: `devkit` with the folders cars_train and cars_test, and cars_annos.mat with the
folder car_ims. Both are read. If both are there, cars_annos.mat is taken, but only with its folder. The annotations
have a box for each car, which is not cut out: the paper does not either.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from detaux.runtime.text import show_name, show_text
from shards.mat import read_mat
from shards.picture_files import check_pictures, refuse_link
from shards.pictures import list_suffixes
from shards.published import find_published, refuse_swapped
from shards.records import Source

SPLITS = ("train", "test")
PUBLISHED = (8144, 8041)
DEVKIT = "devkit"
META, TRAIN, TEST = "cars_meta.mat", "cars_train_annos.mat", "cars_test_annos_withlabels.mat"
SINGLE, PICTURES = "cars_annos.mat", "car_ims"
MOST_NAME_BYTES = 255  # a longer name of a file or folder is an error of the operating system
WANTED = f"the folder of the published {DEVKIT}, cars_train and cars_test, or of {SINGLE} and {PICTURES}"


@dataclass(frozen=True)
class Car:
    """Describe an annotated picture: its path below data.path as the file writes it, class from 0, and split."""

    name: str
    label: int
    split: str


def open_cars(config: DataConfig) -> Source:
    """Return both published splits, the training split first. A class is a model of car with its year.

    A picture that is missing or damaged is left out and named. Pictures without an annotation are passed over. Raises
    UserError if annotations are missing, damaged, swapped, copied or name a picture twice, if pictures are one folder too
    deep, or if more than data.max_bad_fraction is left out.
    """
    root = find_published(config, WANTED)
    if not root.is_dir():
        raise UserError(f"data.path={root} is not a folder; unpack the archives and give {WANTED}.")
    devkit = next((folder for folder in (root / DEVKIT, root) if (folder / META).is_file()), None)
    is_single = (root / SINGLE).is_file() and (devkit is None or (root / PICTURES).is_dir())
    classes, cars = _read_single(root) if is_single else _read_devkit(root, devkit)
    counts = [sum(car.split == split for car in cars) for split in SPLITS]
    refuse_swapped(f"data.path={root}", (counts[0], counts[1]), PUBLISHED)
    names = Counter(str(PurePosixPath(car.name)) for car in cars)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise UserError(f"data.path={root}: {show_name(twice)} is annotated {names[twice]} times; once is allowed.")
    _refuse_nested_folders(root, cars)
    there = _list_folders(root, cars)
    _refuse_swapped_folders(root, cars, there)

    refused, usable = [], []
    for car in cars:
        reason = _find_fault(root, car)
        if reason is None:
            usable.append(car)
        else:
            refused.append({"file": show_name(car.name), "reason": reason})
    found = check_pictures(root, [root / car.name for car in usable], refused, config)
    good = [usable[position] for position in found.good]
    return Source(
        name="cars",
        factors={"class": len(classes)},
        value_names={"class": classes},
        default_principal="class",
        count=len(good),
        factor_values=np.array([[car.label] for car in good], dtype=np.int64),
        published_split=np.array([car.split for car in good]),
        read=found.read,
        keys=found.keys,
        quarantined=found.quarantined,
        passed_over=sorted(show_name(name) for name in there - names.keys()),
    )


def _read_devkit(root: Path, devkit: Path | None) -> tuple[list[str], list[Car]]:
    """Read the classes and the annotations of the layout with cars_train and cars_test. `devkit` is None if it is missing."""
    if devkit is None:
        raise UserError(f"data.path={root} holds neither {DEVKIT}/{META} nor {SINGLE}; it must be {WANTED}.")
    test = next((folder / TEST for folder in (devkit, root) if (folder / TEST).is_file()), None)
    if test is None:
        raise UserError(
            f"{devkit / TEST} does not exist; the authors publish the labels of the test pictures in this file of its own."
        )
    if not (devkit / TRAIN).is_file():
        raise UserError(f"{devkit / TRAIN} does not exist; it is part of the published {DEVKIT}.")
    classes = _read_classes(devkit / META, read_mat(devkit / META, ["class_names"]))
    cars, lists = [], []
    for split, path in zip(SPLITS, (devkit / TRAIN, test), strict=True):
        lists.append(_read_annotations(path, read_mat(path, ["annotations"]), ("fname", "class")))
        for entry in lists[-1]:
            cars.append(
                Car(f"cars_{split}/{entry['fname']}", _read_number(path, entry, "class", len(classes)) - 1, split)
            )
    if _are_equal(*lists):
        raise UserError(f"{test} has the same annotations as {devkit / TRAIN}; one is a copy of the other.")
    return classes, cars


def _are_equal(ones: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    """Return whether two lists of annotations agree in every field, the boxes included."""
    return len(ones) == len(others) and all(
        one.keys() == other.keys() and all(np.array_equal(one[field], other[field]) for field in one)
        for one, other in zip(ones, others, strict=True)
    )


def _read_single(root: Path) -> tuple[list[str], list[Car]]:
    """Read the classes and the annotations of the layout with car_ims; `test` marks the test pictures."""
    path = root / SINGLE
    if not (root / PICTURES).is_dir():
        raise UserError(f"data.path={root} holds {SINGLE}, but not its folder {PICTURES}; it must be {WANTED}.")
    arrays = read_mat(path, ["class_names", "annotations"])
    classes = _read_classes(path, arrays)
    cars = [
        Car(
            str(entry["relative_im_path"]),
            _read_number(path, entry, "class", len(classes)) - 1,
            SPLITS[_read_number(path, entry, "test", 1, least=0)],
        )
        for entry in _read_annotations(path, arrays, ("relative_im_path", "class", "test"))
    ]
    return classes, sorted(cars, key=lambda car: car.split != SPLITS[0])


def _read_classes(path: Path, arrays: dict[str, Any]) -> list[str]:
    """Return the names of the classes in the order of their numbers."""
    names = arrays["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: class_names is no cell array of names.")
    classes = [show_text(name) for name in names]
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise UserError(
            f"{path}: class_names has {len(set(classes))} different names of {len(classes)}; two are needed."
        )
    return classes


def _read_annotations(path: Path, arrays: dict[str, Any], fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the annotations, one for each picture. Raises UserError if they lack one of `fields`."""
    found = arrays["annotations"]
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    if not entries or len(entries) < len(found):
        raise UserError(f"{path}: annotations is no structure with an entry for each picture.")
    if missing := [field for field in fields if field not in entries[0]]:
        raise UserError(f"{path}: its annotations lack {missing[0]}; they have {show_text(', '.join(entries[0]))}.")
    return entries


def _read_number(path: Path, entry: dict[str, Any], field: str, most: int, least: int = 1) -> int:
    """Return a whole number of an annotation."""
    value = entry[field]
    if not isinstance(value, np.ndarray) or value.size != 1 or value.item() not in range(least, most + 1):
        raise UserError(f"{path} has the {field} {show_text(str(value))}; {least} to {most} are allowed.")
    return int(value.item())


def _refuse_nested_folders(root: Path, cars: list[Car]) -> None:
    """Raise UserError if a picture is not in its folder, but in a folder of the same name there. Some copies are so."""
    for car in cars:
        path = root / car.name
        if _find_fault_of_name(car.name) is None and not path.exists():
            folder = path.parent.name
            if (path.parent / folder / path.name).is_file():
                raise UserError(
                    f"data.path={root}: the pictures of {folder} are one folder deeper, in {folder}/{folder}; move them to "
                    f"{folder}."
                )


def _refuse_swapped_folders(root: Path, cars: list[Car], there: set[str]) -> None:
    """Raise UserError if cars_train has as many pictures as the test annotations, and cars_test as the training ones."""
    suffixes = tuple(list_suffixes())
    folders = [f"cars_{split}/" for split in SPLITS]
    listed = [sum(car.name.startswith(folder) for car in cars) for folder in folders]
    held = [sum(name.startswith(folder) and name.lower().endswith(suffixes) for name in there) for folder in folders]
    if listed[0] != listed[1] and held == listed[::-1]:
        raise UserError(
            f"data.path={root}: cars_train holds {held[0]} pictures and cars_test {held[1]}, but {listed[0]} and {listed[1]} are "
            "annotated; the folders or their annotations are swapped."
        )


def _list_folders(root: Path, cars: list[Car]) -> set[str]:
    """List what the folders of the annotated pictures hold, as FOLDER/NAME. No folder out of data.path is listed."""
    names = {PurePosixPath(car.name).parent.name for car in cars if _find_fault_of_name(car.name) is None}
    folders = [root / name for name in names]
    return {
        f"{folder.name}/{path.name}"
        for folder in folders
        if folder.is_dir() and not refuse_link(folder, root)
        for path in folder.iterdir()
    }


def _find_fault_of_name(text: str) -> str | None:
    """Return why the annotated name of a picture is not looked up, None if it has the form FOLDER/NAME."""
    name = PurePosixPath(text)
    if name.is_absolute() or len(name.parts) != 2 or ".." in name.parts or not text.isprintable():
        return "an annotation whose file name leaves its folder"
    if any(len(os.fsencode(part)) > MOST_NAME_BYTES for part in name.parts):
        return f"an annotation whose file name has more than {MOST_NAME_BYTES} bytes"
    return None


def _find_fault(root: Path, car: Car) -> str | None:
    """Return why an annotated picture cannot be read, None if nothing is known against it."""
    if fault := _find_fault_of_name(car.name):
        return fault
    path = root / car.name
    if fault := refuse_link(path.parent, root) or refuse_link(path, root):
        return fault
    return None if path.is_file() else "annotated, but missing"
