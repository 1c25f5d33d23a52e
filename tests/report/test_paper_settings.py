"""Which settings of a run are said to differ from the paper's, one key at a time and for a whole other preset."""

import functools

import paper_runs
import pytest
from paper_runs import find_cell

from detaux.config import load_config
from detaux.config.frozen import config_to_dict
from detaux.config.load import get_value, iterate_fields
from detaux.config.shipped import find_shipped
from detaux.report import paper_settings

SETTINGS = {  # key -> a value that is not the paper's
    "multitask.backbone": "vgg16_bn",
    "multitask.batch_size": 128,
    "multitask.lr": 1e-3,
    "multitask.decay": "cosine",
    "multitask.crop": 4,
    "multitask.flip": True,
    "multitask.colour": 0.2,
    "multitask.mixup": 0.1,
    "multitask.pretrained": "vgg.pth",
    "data.validation_fraction": 0.1,
}
OF_DISCOVERY = {
    "pairs.partner": "nearest",
    "model.encoder": "patch_conv",
    "model.latent": 64,
    "losses.weights.distance": 1.0,
    "disentangle.warmup.steps": 6000,
    "disentangle.main.batch_size": 128,
    "disentangle.main.lr": 2e-3,
    "disentangle.optimizer": "adam",
    "discover.choose": "separation",
}


@pytest.fixture
def make_run(run_folder):
    return functools.partial(paper_runs.make_run, run_folder)


@pytest.mark.parametrize("dotted", [*SETTINGS, "data.side"])
def test_each_setting_of_the_classifier_is_said_in_all_cells_of_accuracy(make_run, dotted):
    value = SETTINGS.get(dotted, 32)
    run = make_run(manifest={"side": 32}) if dotted == "data.side" else make_run(settings={dotted: value})
    name = dotted.partition(".")[2]
    shown = str(value).lower() if isinstance(value, bool) else value
    rows = ["STL", "MAXL", "MTL-HPS + Detaux"]
    # mti has its own backbone
    rows += [] if dotted in ("multitask.backbone", "multitask.pretrained") else ["MTI + Detaux"]
    for row in rows:
        cell = find_cell("table1", [run], row)
        assert f" {name}={shown} (" in cell["differs"]
        assert cell["discovery_differs"] is None
    is_data = dotted.startswith("data.")
    assert (f" {name}={shown} (" in find_cell("table3", [run], "SVHN")["differs"]) is is_data


@pytest.mark.parametrize("dotted", OF_DISCOVERY)
def test_each_setting_of_discovery_is_said_only_if_the_cell_has_its_labels(make_run, dotted):
    run = make_run(settings={dotted: OF_DISCOVERY[dotted]})
    section, _, name = dotted.partition(".")
    for table, row in (("table1", "MTI + Detaux"), ("table1", "MTL-HPS + Detaux"), ("table3", "SVHN")):
        cell = find_cell(table, [run], row)
        assert cell["differs"].endswith("; 1 setting of disentangling and discovery")
        assert cell["discovery_differs"].startswith(f"{section}: {name}=")
    for row in ("STL", "MAXL"):
        cell = find_cell("table1", [run], row)
        assert "setting" not in cell["differs"]
        assert cell["discovery_differs"] is None


def test_settings_of_another_method_are_not_said(make_run):
    run = make_run(settings={"multitask.maxl.slots": 2, "multitask.uncertainty.init": 1.0, "multitask.weights": [3.0]})
    assert "maxl.slots=2 (5)" in find_cell("table1", [run], "MAXL")["differs"]
    assert "weights=" not in find_cell("table1", [run], "MAXL")["differs"]
    sharing = find_cell("table1", [run], "MTL-HPS + Detaux")["differs"]
    assert sharing.endswith("multitask: weights=[3.0] ([0.2, 1.0]), uncertainty.init=1 (0)")
    assert "multitask:" not in find_cell("table1", [run], "STL")["differs"]


def test_preset_that_is_not_the_papers_shows_every_key_that_its_stages_read(make_run):
    """The oracle goes over all keys of both configs."""
    paper, preset = (load_config(find_shipped(f"configs/{name}.yaml")) for name in ("paper/cifar10", "cifar10"))
    run = make_run("cifar10", manifest={"side": preset.data.side})
    for config in run.configs.values():
        config.update(config_to_dict(preset))
    cell = find_cell("table1", [run], "MTL-HPS + Detaux", "cifar10")
    shown = f"{cell['differs']}; {cell['discovery_differs']}"
    changed = {dotted for dotted, _, _ in iterate_fields() if get_value(paper, dotted) != get_value(preset, dotted)} - {
        "run.dir",
        "multitask.methods",
        "multitask.controls",
        "discover.include_baselines",
    }
    assert len(changed) > 40
    assert [dotted for dotted in changed if f"{dotted.partition('.')[2]}=" not in shown] == []
    assert shown.count("=") == len(changed)


@pytest.mark.parametrize("pretrained", [None, "resnet18.pth"])
def test_random_weights_are_said_if_the_paper_pretrains(make_run, pretrained):
    run = make_run("cars", 196, settings={"multitask.pretrained": pretrained})
    said = "backbone from random weights" in find_cell("table1", [run], "MTL-HPS + Detaux", "cars")["differs"]
    assert said is (pretrained is None)
    assert "random weights" not in find_cell("table1", [run], "STL", "cars")["differs"]


def test_config_that_is_not_installed_is_said(make_run, monkeypatch):
    run = make_run(settings={"multitask.epochs": 20})
    monkeypatch.setattr(paper_settings, "find_shipped", lambda name: None)
    paper_settings.load_paper.cache_clear()
    try:
        differs = find_cell("table1", [run], "STL")["differs"]
    finally:
        paper_settings.load_paper.cache_clear()
    assert differs.endswith("; settings not compared, because configs/paper/svhn.yaml is not installed")


def test_key_that_an_older_release_lacks_is_not_compared(make_run):
    run = make_run(settings={"multitask.epochs": 20})
    for config in run.configs.values():
        del config["multitask"]["epochs"]
        del config["multitask"]["uncertainty"]
    assert "multitask:" not in find_cell("table1", [run], "MTL-HPS + Detaux")["differs"]
