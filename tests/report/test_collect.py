"""What a run folder's files are read as: which stages belong together."""

import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from detaux.data.remote import locate_set
from detaux.errors import UserError
from detaux.report.collect import CHOSEN_NAMES, GALLERY_NAMES, load_run, name_candidate
from detaux.report.sentences import describe_effect, describe_factor, describe_stale_discovery
from detaux.report.tables import build_comparison, build_settings
from detaux.report.tiles import build_tiles
from detaux.runtime.files import hash_file


@pytest.fixture
def hashed_run(run_folder, edit_json):
    """A run whose records name the model and the labels their stage read."""
    model = run_folder / "disentangle" / "checkpoint" / "model.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"first model")
    labels = run_folder / "discover" / "labels.parquet"
    for stage, name, path in (("discover", "model", model), ("multitask", "labels", labels)):
        inputs = {"manifest": "0" * 64, name: hash_file(path)}
        edit_json(run_folder / stage / "record.json", lambda record, inputs=inputs: record.update(inputs=inputs))
    return run_folder


def test_stages_made_from_the_files_there_are_shown(hashed_run):
    run = load_run(hashed_run, "demo")
    assert run.stale == []
    assert run.multitask is not None
    assert describe_stale_discovery(run) is None


def test_accuracy_of_other_labels_is_left_out(hashed_run):
    path = hashed_run / "discover" / "labels.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.set_column(1, "aux_0", pyarrow.array([0] * len(table))), path)
    run = load_run(hashed_run, "demo")
    assert run.stale == ["multitask"]
    assert run.multitask is None
    assert "multitask" not in run.records
    assert "measured on other labels and is left out; run detaux multitask CONFIG again" in describe_effect(run)
    assert build_tiles(run)[-1].value == "not measured"


def test_edited_labels_are_told(hashed_run, edit_json):
    path = hashed_run / "discover" / "labels.parquet"
    written = {"labels.parquet": hash_file(path)}
    edit_json(hashed_run / "discover" / "record.json", lambda record: record.update(outputs=written))
    assert describe_stale_discovery(load_run(hashed_run, "demo")) is None
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.set_column(1, "aux_0", pyarrow.array([0, 1] * (len(table) // 2))), path)
    inputs = {"labels": hash_file(path)}  # what multitask then trained on
    edit_json(hashed_run / "multitask" / "record.json", lambda record: record.update(inputs=inputs))
    run = load_run(hashed_run, "demo")
    assert "labels.parquet was edited after discovery" in describe_stale_discovery(run)
    assert run.multitask is not None


def test_discovery_in_another_model_is_told(hashed_run):
    (hashed_run / "disentangle" / "checkpoint" / "model.safetensors").write_bytes(b"second model")
    run = load_run(hashed_run, "demo")
    assert run.stale == ["discover"]
    assert "run detaux discover CONFIG again" in describe_stale_discovery(run)
    assert run.multitask is not None  # still of these labels


def change_config(run_folder, stage, old, new):
    path = run_folder / stage / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_settings_are_those_of_the_stage_that_read_them(run_folder):
    change_config(run_folder, "shards", "split_seed: 0", "split_seed: 5")
    change_config(run_folder, "disentangle", "partner: mined", "partner: label")
    change_config(run_folder, "discover", "clusterer: hdbscan", "clusterer: kmeans")
    change_config(run_folder, "multitask", "partner: mined", "partner: independent")
    change_config(run_folder, "multitask", "select: validation", "select: fixed")
    run = load_run(run_folder, "demo")
    rows = {row["key"]: row["value"] for row in build_settings(run).rows}
    assert rows == {
        "data.split_seed": "5",
        "pairs.partner": '"label"',
        "discover.clusterer": '"kmeans"',
        "multitask.select": '"fixed"',
    }
    assert run.get_setting("multitask", "select") == "fixed"
    assert run.get_setting("discover", "clusterer") == "kmeans"


def test_settings_of_the_whole_run_are_the_newest(run_folder):
    change_config(run_folder, "disentangle", "seed: 0", "seed: 1")
    change_config(run_folder, "multitask", "seed: 0", "seed: 2")
    assert load_run(run_folder, "demo").get_setting("run", "seed") == 2


def test_config_of_an_unfinished_stage_is_not_shown(run_folder):
    change_config(run_folder, "discover", "clusterer: hdbscan", "clusterer: kmeans")
    (run_folder / "discover" / "record.json").unlink()
    assert load_run(run_folder, "demo").get_setting("discover", "clusterer") == "hdbscan"


def test_manifest_is_of_the_shards_the_newest_stage_read(run_folder, edit_json, monkeypatch):
    monkeypatch.setenv("HOME", str(run_folder.parent))
    other = run_folder.parent / "other"
    shutil.copytree(run_folder / "shards", other)
    edit_json(other / "manifest.json", lambda manifest: manifest.update(dataset="digits"))
    assert load_run(run_folder, "demo").manifest.dataset == "shapes3d"
    change_config(run_folder, "disentangle", "shards: null", "shards: ~/other")
    assert load_run(run_folder, "demo").manifest.dataset == "shapes3d"
    change_config(run_folder, "multitask", "shards: null", "shards: ~/other")
    assert load_run(run_folder, "demo").manifest.dataset == "digits"


def test_manifest_of_a_set_that_lies_elsewhere_is_the_one_in_the_cache(run_folder, edit_json, tmp_path):
    cached = locate_set("ab" * 32, str(tmp_path / "cache"))
    shutil.copytree(run_folder / "shards", cached)
    edit_json(cached / "manifest.json", lambda manifest: manifest.update(dataset="elsewhere"))
    edit_json(run_folder / "multitask" / "record.json", lambda record: record.update(inputs={"manifest": "ab" * 32}))
    change_config(run_folder, "multitask", "shards: null", "shards: https://host/set")
    change_config(run_folder, "multitask", "remote_cache: null", f"remote_cache: {tmp_path}/cache")
    assert load_run(run_folder, "demo").manifest.dataset == "elsewhere"
    shutil.rmtree(cached)
    assert load_run(run_folder, "demo").manifest is None


def test_best_factor_is_never_the_principal_one(run_folder, edit_json):
    manifest = run_folder / "shards" / "manifest.json"
    assert load_run(run_folder, "demo").best_factor == ("floor_hue", 0.997)
    edit_json(manifest, lambda tree: tree.update(principal="floor_hue"))
    run = load_run(run_folder, "demo")
    assert run.best_factor == ("shape", 0.11)
    assert "match shape best (V-measure 0.110)" in describe_factor(run)
    assert "with shape; scoring only" in [tile.note for tile in build_tiles(run)]
    row = build_comparison([run]).rows[0]
    assert (row["best_v"], row["best_factor"]) == (0.11, "shape")


def test_factor_behind_a_mapping_of_classes_is_hidden(run_folder, edit_json):
    edit_json(
        run_folder / "shards" / "manifest.json",
        lambda tree: tree.update(principal="floor_hue", factors={"floor_hue": 5}, classes=["even", "odd"]),
    )
    run = load_run(run_folder, "demo")
    assert run.best_factor == ("floor_hue", 0.997)
    assert run.principal_name == "floor hue groups"


DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\n",
    "list": lambda content: b"[1]",
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize(
    "name",
    [
        "discover/discovery.json",
        "discover/gallery.npz",
        "discover/labels.parquet",
        "disentangle/scores.json",
        "multitask/metrics.json",
        "shards/manifest.json",
    ],
)
def test_damaged_file_of_a_run_is_one_sentence_that_names_it(run_folder, name, kind):
    path = run_folder / name
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    with pytest.raises(UserError, match=rf"{path}[ :]"):
        load_run(run_folder, "demo")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *(("discover/discovery.json", name) for name in ("chosen", "rule", "candidates", "samples")),
        *(("multitask/metrics.json", name) for name in ("summary", "chosen")),
        *(("disentangle/scores.json", name) for name in ("factors", "variance_share")),
    ],
)
def test_file_of_a_run_that_lacks_a_field_is_refused_by_it(run_folder, edit_json, file, name):
    edit_json(run_folder / file, lambda tree: tree.pop(name))
    with pytest.raises(UserError, match=rf"{file} lacks '{name}'; run the stage {file.split('/')[0]} again"):
        load_run(run_folder, "demo")


@pytest.mark.parametrize("name", [*GALLERY_NAMES, *CHOSEN_NAMES])
def test_gallery_that_lacks_an_array_is_refused_by_it(run_folder, name):
    path = run_folder / "discover" / "gallery.npz"
    arrays = dict(np.load(path))
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=rf"gallery\.npz lacks '{name}'; run `detaux discover` again"):
        load_run(run_folder, "demo")


def test_edited_labels_are_counted_as_they_are(run_folder):
    path = run_folder / "discover" / "labels.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"key": ["a", "b", "c"], "aux_0": [7, 2, 7]}), path)
    assert load_run(run_folder, "demo").label_counts == {2: 1, 7: 2}


def test_gallery_that_holds_a_program_is_refused_unread(run_folder, trap):
    np.savez(run_folder / "discover" / "gallery.npz", traversal=np.array([trap], object))
    with pytest.raises(UserError, match=r"gallery\.npz"):
        load_run(run_folder, "demo")
    assert not trap.mark.exists()


def test_discovery_of_an_older_release_reads_as_one_of_today(run_folder, edit_json):
    path, before = run_folder / "discover" / "discovery.json", load_run(run_folder, "demo").discovery

    def age(discovery):
        discovery["rule"] = discovery["rule"]["name"]
        for one in [*discovery["candidates"], *discovery["baselines"], discovery["principal_subspace"]]:
            fault = one.pop("fault")
            one["why_not"] = fault and fault["text"]

    edit_json(path, age)
    now = load_run(run_folder, "demo").discovery
    assert now["rule"] == before["rule"]
    for name in ("candidates", "baselines"):
        texts = [[one["fault"] and one["fault"]["text"] for one in found[name]] for found in (now, before)]
        assert texts[0] == texts[1]


def test_accuracies_of_an_older_release_read_as_those_of_today(run_folder, edit_json):
    path, before = run_folder / "multitask" / "metrics.json", load_run(run_folder, "demo").multitask

    def age(metrics):
        for row in metrics["summary"]:
            row.pop("kind")
        metrics["chosen"].pop("labels")

    edit_json(path, age)
    now = load_run(run_folder, "demo").multitask
    assert [row["kind"] for row in now["summary"]] == [row["kind"] for row in before["summary"]]
    assert now["chosen"]["labels"] == ("none" if now["chosen"]["method"] == "stl" else "discovered")


def test_accuracy_of_other_labels_of_a_variant_is_left_out(hashed_run, edit_json):
    path = hashed_run / "variants" / "seed1" / "discover" / "labels.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"labels")
    read = {"labels@seed1": hash_file(path)}
    edit_json(hashed_run / "multitask" / "record.json", lambda record: record["inputs"].update(read))
    assert load_run(hashed_run, "demo").stale == []
    path.write_bytes(b"other labels")
    assert load_run(hashed_run, "demo").stale == ["multitask"]


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        ({"kind": "candidate", "subspaces": [3, 7]}, "subspaces 3 + 7"),
        (
            {"kind": "candidate", "subspaces": [3], "name": "mixture", "restart": 1},
            "mixture of subspace 3 of restart 2",
        ),
        ({"kind": "candidate", "subspaces": [], "name": "encoder", "index": 0}, "encoder"),
        ({"kind": "baseline", "subspaces": [], "name": "kmeans_latents"}, "baseline: kmeans latents"),
        ({"kind": "principal", "subspaces": [0]}, "principal subspace 0"),
    ],
)
def test_clustering_is_named_by_its_kind_and_subspaces(candidate, name):
    assert name_candidate(candidate) == name
