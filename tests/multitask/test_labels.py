import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from detaux.errors import UserError
from detaux.multitask.labels import build_control, load_labels

LABELS = torch.arange(1200) % 5
PRINCIPAL = (torch.arange(1200) // 7) % 3


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


def test_permuted_labels_keep_their_marginal():
    control = build_control("permuted", LABELS, PRINCIPAL, 0)
    assert torch.equal(control.bincount(), LABELS.bincount())
    assert normalized_mutual_info_score(control, LABELS) < 0.02


def test_labels_permuted_within_class_keep_their_dependence_on_it():
    control = build_control("within_class", LABELS, PRINCIPAL, 0)
    before, after = contingency_matrix(PRINCIPAL, LABELS), contingency_matrix(PRINCIPAL, control)
    assert (before == after).all()
    assert not torch.equal(control, LABELS)


def test_random_labels_follow_the_marginal_and_nothing_else():
    skewed = torch.tensor([0] * 900 + [1] * 300)
    control = build_control("random", skewed, PRINCIPAL, 0)
    assert abs((control == 1).float().mean() - 0.25) < 0.04
    assert normalized_mutual_info_score(control, skewed) < 0.01
    assert torch.equal(control, build_control("random", skewed, PRINCIPAL, 0))


def test_unknown_control_is_refused_by_name():
    with pytest.raises(ValueError, match="'shuffled'"):
        build_control("shuffled", LABELS, PRINCIPAL, 0)
