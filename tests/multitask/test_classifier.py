import pytest
import torch

from detaux.config.schema import MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.classifier import load_classifier, save_classifier
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec

PROBLEM = TaskSpec(MultitaskConfig(head_hidden=8), 16, [2, 3], 0.5)


def test_loaded_classifier_answers_as_the_saved_one(tmp_path):
    network = build_method("hard_sharing+uncertainty", PROBLEM).network.eval()
    save_classifier(network, tmp_path / "model.safetensors")
    loaded = load_classifier(
        tmp_path / "model.safetensors", "hard_sharing+uncertainty", PROBLEM, torch.device("cpu"), ""
    ).eval()
    images = torch.rand(4, 3, 16, 16)
    assert all(torch.equal(one, two) for one, two in zip(network(images), loaded(images), strict=True))


def test_damaged_classifier_is_named_with_the_way_on(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"none")
    with pytest.raises(UserError, match=f"{path} .*train it again"):
        load_classifier(path, "stl", PROBLEM, torch.device("cpu"), "train it again")
