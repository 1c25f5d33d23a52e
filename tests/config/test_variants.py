"""Variants of discovery, expanded from the keys that ask for them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from detaux.cli import run_command
from detaux.config import load_config
from detaux.config.load import change_config
from detaux.config.together import check_together
from detaux.config.variants import drop_comparisons, list_variants
from detaux.data.labels_file import read_labels
from detaux.errors import UserError
from detaux.report import figures

ASKED = (
    "multitask.discovery_seeds=[3, 1]",
    "multitask.discovery_clusterers=[kmeans++]",
    "multitask.controls=[random, entangled]",
)


def test_variants_are_the_asked_ones_in_their_order():
    assert [(one.name, one.labels, dict(one.changes)) for one in list_variants(load_config(None, ASKED).multitask)] == [
        ("seed3", "discovered@seed3", {"run.seed": 3}),
        ("seed1", "discovered@seed1", {"run.seed": 1}),
        (
            "kmeans++",
            "discovered@kmeans++",
            {
                "discover.clusterer": "kmeans++",
                "discover.sources": ["subspace"],
                "discover.features": None,
                "discover.include_baselines": False,
            },
        ),
        (
            "entangled",
            "entangled",
            {"discover.sources": ["encoder"], "discover.features": None, "discover.include_baselines": False},
        ),
    ]


def test_clusterer_of_the_run_without_its_baselines_is_another_discovery():
    keys = ["discover.clusterer=kmeans++", "discover.include_baselines=true"]
    check_together(load_config(None, [*ASKED, *keys]))


def test_defaults_ask_for_no_variant():
    assert list_variants(load_config(None).multitask) == []


def test_names_of_variants_are_names_of_files_and_differ():
    variants = list_variants(load_config(None, ASKED).multitask)
    names = [name for one in variants for name in (one.name, one.labels, one.input)]
    assert all(re.fullmatch(r"[\w@+]+", name) for name in names)
    assert len({one.locate(Path("run")) for one in variants}) == len(variants)
    assert variants[0].locate(Path("run")) == Path("run/variants/seed3")


def test_changes_of_a_variant_are_values_that_a_config_takes():
    config = load_config(None, ASKED)
    for one in list_variants(config.multitask):
        assert change_config(config, one.changes, one.name) != config


def test_settings_without_comparisons_have_no_variant_and_no_control():
    config = load_config(None, [*ASKED, "multitask.epochs=3"]).multitask
    assert list_variants(drop_comparisons(config)) == []
    assert drop_comparisons(config).controls == []
    assert drop_comparisons(config).epochs == 3


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["run.seed=3"], "the discovery seed3 (run.seed=3), which is the run's own"),
        (
            ["discover.clusterer=kmeans++"],
            "(discover.clusterer=kmeans++, discover.sources=['subspace'], discover.features=None, discover.include_baselines",
        ),
        (["multitask.discovery_seeds=[1, 1]"], "asks twice for the discovery seed1 (run.seed=1)"),
        (["discover.sources=[encoder]"], "the discovery entangled (discover.sources=['encoder']"),
        (["multitask.weights=[]", "multitask.methods=[stl]", "multitask.controls=[]"], "multitask.weights is empty"),
    ],
)
def test_variant_that_repeats_a_discovery_is_refused(keys, sentence):
    check_together(load_config(None, ASKED))
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_together(load_config(None, [*ASKED, *keys]))


@pytest.mark.parametrize("key", ["multitask.discovery_seeds=[-1]", "multitask.discovery_clusterers=[ward]"])
def test_value_that_no_discovery_takes_is_refused(key):
    with pytest.raises(UserError, match="expected list of"):
        load_config(None, [key])


QUICK = (
    *("run.device=cpu", "run.threads=1", "data.source=shapes3d", "data.principal=scale", "data.grid=[3,3,2,3,2,1]"),
    *("data.side=16", "data.window=64", "model.subspaces=3", "model.latent=6", "pairs.pool=64", "pairs.nearest=8"),
    *("disentangle.warmup.steps=4", "disentangle.main.steps=4", "disentangle.warmup.batch_size=16"),
    *("disentangle.main.batch_size=16", "discover.clusterer=kmeans", "discover.clusters=3", "discover.merge=false"),
    *("discover.stability_samples=0", "discover.min_oracle_fraction=0", "multitask.epochs=1", "multitask.seeds=1"),
    *("multitask.head_hidden=8", "multitask.weights=[1]", "multitask.methods=[stl, hard_sharing]"),
)
FEW = ("multitask.discovery_seeds=[1]", "multitask.discovery_clusterers=[meanshift]", "multitask.controls=[entangled]")


def run(stage, root, *keys):
    (root.parent / "empty.yaml").write_text("")
    return run_command([stage, str(root.parent / "empty.yaml"), f"run.dir={root}", *QUICK, *keys])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run with a variant of each kind. Its report has tables and no pictures of its charts."""
    root = tmp_path_factory.mktemp("variants") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "render", lambda figure, key, alt: ("<svg></svg>", b""))
        assert run("run", root, *FEW) == 0
    return root


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("seed1", ["run.seed=1"]),
        ("meanshift", ["discover.clusterer=meanshift"]),
        ("entangled", ["discover.sources=[encoder]"]),
    ],
)
def test_variant_finds_what_a_run_of_its_keys_finds(finished, tmp_path, name, keys):
    keys = [*keys, f"data.shards={finished}/shards"]
    if name == "seed1":
        assert run("disentangle", tmp_path / "other", *keys) == 0
        models = [
            one / "disentangle/checkpoint/model.safetensors"
            for one in (finished / "variants/seed1", tmp_path / "other")
        ]
        assert models[0].read_bytes() == models[1].read_bytes()
    else:
        shutil.copytree(finished / "disentangle", tmp_path / "other" / "disentangle")
    assert run("discover", tmp_path / "other", *keys) == 0
    labels = [
        one / "discover" / "labels.parquet" for one in (finished / "variants" / name, tmp_path / "other", finished)
    ]
    found, expected, own = map(read_labels, labels)
    assert found == expected
    assert found != own


def test_each_variant_has_rows_and_none_is_chosen(finished):
    metrics = json.loads((finished / "multitask" / "metrics.json").read_text())
    kinds = {row["labels"]: row["kind"] for row in metrics["summary"]}
    assert kinds == {
        "none": "stl",
        "discovered": "method",
        "discovered@seed1": "variant",
        "discovered@meanshift": "variant",
        "entangled": "control",
        "discovered@seeds": "variant",
    }
    assert metrics["chosen"]["labels"] in ("none", "discovered")
    found = {one["name"]: one["aux_classes"] for one in metrics["facts"]["variants"]}
    assert found["seed1"] == found["entangled"] == 3
    table = (finished / "report" / "tables" / "accuracy.md").read_text()
    for words in ("discovered, seed 1", "discovered by mean shift", "discovered, mean over its seeds", "entangled"):
        assert f"| {words} |" in table
