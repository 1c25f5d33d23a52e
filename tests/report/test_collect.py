"""What a run folder's files are read as: which stages belong together."""

import pyarrow
import pyarrow.parquet
import pytest

from detaux.report.collect import load_run
from detaux.report.sentences import describe_effect, describe_stale_discovery
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


def test_discovery_in_another_model_is_told(hashed_run):
    (hashed_run / "disentangle" / "checkpoint" / "model.safetensors").write_bytes(b"second model")
    run = load_run(hashed_run, "demo")
    assert run.stale == ["discover"]
    assert "run detaux discover CONFIG again" in describe_stale_discovery(run)
    assert run.multitask is not None  # still of these labels
