import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sets import write_faces
from PIL import Image

from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.faces import open_faces
from shards.pictures import read_picture
from shards.records import Source

MakeData = Callable[..., DataConfig]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Six persons, with twelve pictures each."""
    return write_faces(tmp_path / "faces", persons=6, width=24, height=30)


def describe(source: Source) -> dict[str, dict[str, str]]:
    """The names of the factors' values of each picture."""
    return {
        key: {name: source.value_names[name][value] for name, value in zip(source.factors, values, strict=True)}
        for key, values in zip(source.keys, source.factor_values, strict=True)
    }


def test_file_names_give_all_factors(
    faces: Path, make_data: MakeData, read_images: Callable[[Source], np.ndarray]
) -> None:
    source = open_faces(make_data("faces", f"data.path={faces}"))
    assert source.default_principal == "expression"
    assert source.factors == {"expression": 6, "age": 3, "gender": 2, "set": 2, "person": 6}
    facts = describe(source)
    assert len(facts) == 72
    assert facts["003_o_m_a_a.jpg"] == {
        "expression": "anger", "age": "older", "gender": "male", "set": "a", "person": "003",
    }  # fmt: skip
    assert facts["002_m_f_s_b.jpg"] == {
        "expression": "sadness", "age": "middle-aged", "gender": "female", "set": "b", "person": "002",
    }  # fmt: skip
    names = [facts[f"001_y_m_{code}_a.jpg"]["expression"] for code in "adfhns"]
    assert names == ["anger", "disgust", "fear", "happiness", "neutrality", "sadness"]
    for key, image in zip(source.keys, read_images(source), strict=True):
        np.testing.assert_array_equal(image, read_picture(faces / key, 16))


def test_sub_folders_capitals_and_other_formats_are_read(faces: Path, make_data: MakeData) -> None:
    (faces / "more").mkdir()
    (faces / "001_y_m_a_a.jpg").rename(faces / "more" / "001_Y_M_A_A.JPG")
    Image.open(faces / "001_y_m_a_b.jpg").save(faces / "more" / "1_y_m_a_b.png")
    (faces / "001_y_m_a_b.jpg").unlink()
    facts = describe(open_faces(make_data("faces", f"data.path={faces}")))
    assert len(facts) == 72
    assert facts["more/001_Y_M_A_A.JPG"] == facts["002_m_f_a_a.jpg"] | {
        "age": "young",
        "gender": "male",
        "person": "001",
    }
    assert facts["more/1_y_m_a_b.png"]["person"] == "001"


def test_values_that_no_picture_has_are_no_values(faces: Path, make_data: MakeData) -> None:
    for path in {*faces.glob("*_o_*"), *faces.glob("*_d_?.jpg")}:
        path.unlink()
    source = open_faces(make_data("faces", f"data.path={faces}"))
    assert source.factors == {"expression": 5, "age": 2, "gender": 2, "set": 2, "person": 4}
    assert source.value_names["expression"] == ["anger", "fear", "happiness", "neutrality", "sadness"]
    assert source.value_names["person"] == ["001", "002", "004", "005"]


def test_other_names_damaged_pictures_and_repeated_ones_are_left_out_by_name(faces: Path, make_data: MakeData) -> None:
    picture = faces / "001_y_m_a_a.jpg"
    for name in (
        "004_o_m_a.jpg",
        "004_x_m_a_a.jpg",
        "004_o_m_q_a.jpg",
        "004_o_m_a_c.jpg",
        "portrait.jpg",
        "a04_o_m_a_a.jpg",
    ):
        shutil.copy(picture, faces / name)
    (faces / "copies").mkdir()
    shutil.copy(picture, faces / "copies" / "001_y_m_a_a.jpg")
    (faces / "002_m_f_a_a.jpg").write_bytes(picture.read_bytes()[:200])
    (faces / "licence.txt").write_text("no picture")
    source = open_faces(make_data("faces", f"data.path={faces}", "data.max_bad_fraction=0.2"))
    reasons = {entry["file"]: entry["reason"] for entry in source.quarantined}
    assert len(reasons) == 8
    assert "such as 004_o_m_a_a.jpg" in reasons["004_o_m_a.jpg"]
    assert reasons["copies/001_y_m_a_a.jpg"] == "it has the name of 001_y_m_a_a.jpg"
    assert "002_m_f_a_a.jpg" in reasons
    assert source.passed_over == ["licence.txt"]
    assert source.count == 71
    with pytest.raises(UserError, match=r"8 of 79 samples are unusable"):
        open_faces(make_data("faces", f"data.path={faces}"))


@pytest.mark.parametrize(("name", "factor"), [("001_o_m_a_b.jpg", "age"), ("1_y_f_n_a.png", "gender")])
def test_person_of_two_ages_or_genders_is_refused_by_name(
    faces: Path, make_data: MakeData, name: str, factor: str
) -> None:
    Image.new("RGB", (9, 9)).save(faces / name)
    with pytest.raises(UserError, match=rf"person 001 has {factor} . in .* and . in .*rename the wrong file"):
        open_faces(make_data("faces", f"data.path={faces}"))


def test_folder_without_faces_is_refused(make_data: MakeData, write_pictures: Callable[..., Path], faces: Path) -> None:
    with pytest.raises(UserError, match=r"holds no picture with a name such as 004_o_m_a_a\.jpg"):
        open_faces(make_data("faces", f"data.path={write_pictures(cats=3, dogs=3)}"))
    with pytest.raises(UserError, match=r"is not a folder"):
        open_faces(make_data("faces", f"data.path={faces}/001_y_m_a_a.jpg"))
    with pytest.raises(UserError, match=r"needs data\.path, the folder of the published pictures"):
        open_faces(make_data("faces"))
    for path in faces.iterdir():
        if "_h_" not in path.name:
            path.unlink()
    with pytest.raises(UserError, match="holds 1 expressions; at least two are needed"):
        open_faces(make_data("faces", f"data.path={faces}"))


@pytest.mark.parametrize("principal", ["class", "gender", "{good: [happiness, neutrality], bad: [0, 1, 2, sadness]}"])
def test_no_person_is_in_two_splits(
    faces: Path,
    make_config: Callable[..., Config],
    tmp_path: Path,
    read_samples: Callable[[Path], dict[str, Any]],
    principal: str,
) -> None:
    keys = (f"data.path={faces}", "data.split=group", "data.test_fraction=0.34", f"data.principal={principal}")
    manifest = build_shards(make_config("faces", *keys), tmp_path / "set")
    assert [manifest.count(split) for split in ("train", "validation", "test")] == [36, 12, 24]
    assert manifest.factors == {"expression": 6, "age": 3, "gender": 2, "set": 2, "person": 6}
    splits: dict[str, set[str]] = {}
    for key, (split, *_) in read_samples(tmp_path / "set").items():
        splits.setdefault(key[:3], set()).add(split)
    assert len(splits) == 6
    assert all(len(found) == 1 for found in splits.values())
