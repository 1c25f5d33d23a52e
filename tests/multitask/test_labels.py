import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from detaux.errors import UserError
from detaux.multitask.labels import load_labels


def write(path, keys, labels):
    parquet.write_table(pa.table({"key": keys, "aux_0": labels, "probability_0": [1.0] * len(keys)}), path)
    return path


def test_labels_are_joined_by_key_not_by_order(tmp_path):
    path = write(tmp_path / "labels.parquet", ["c", "a", "b", "d"], [3, 1, 2, 4])
    assert load_labels(path, ["a", "b", "c", "d"]).tolist() == [0, 1, 2, 3]


def test_missing_key_is_refused_with_counts(tmp_path):
    path = write(tmp_path / "labels.parquet", ["a"], [0])
    with pytest.raises(
        UserError,
        match="no row for 2 of 3 training images, for example x; put the rows back, or remove the file and run",
    ):
        load_labels(path, ["a", "x", "y"])


def test_classes_of_an_edited_file_are_numbered_anew(tmp_path):
    path = write(tmp_path / "labels.parquet", ["a", "b", "c", "d"], [7, 2, 7, 4])
    assert load_labels(path, ["a", "b", "c", "d"]).tolist() == [2, 0, 2, 1]


def test_edited_labels_of_a_single_class_are_refused(tmp_path):
    with pytest.raises(UserError, match="single class"):
        load_labels(write(tmp_path / "labels.parquet", ["a", "b"], [1, 1]), ["a", "b"])
