import shutil

import pytest

from detaux.config import load_config
from detaux.multitask.gain import measure_gain


def test_gain_is_that_of_the_validation_rows_and_the_test_split_is_not_read(keys, inputs, finished, tmp_path):
    shutil.copytree(inputs / "shards", tmp_path / "shards")
    for path in (tmp_path / "shards").glob("test-*.tar"):
        path.unlink()
    config = load_config(None, [*keys, "multitask.controls=[]"])
    labels = inputs / "discover" / "labels.parquet"
    gain = measure_gain(config, tmp_path / "shards", labels, inputs / "disentangle", tmp_path / "gain")
    _, metrics = finished
    chosen, alone = (
        [row["accuracy"] for row in metrics["rows"] if row["method"] == method and row["split"] == "validation"]
        for method in ("selected", "stl")
    )
    assert gain == pytest.approx(sum(chosen) / 2 - sum(alone) / 2, abs=1e-9)
    assert gain >= 0


def test_methods_that_read_no_labels_do_not_count_as_a_gain(keys, inputs, tmp_path):
    config = load_config(None, [*keys, "multitask.controls=[]", "multitask.methods=[stl,stl_long,hard_sharing]"])
    measure_gain(config, inputs / "shards", inputs / "discover" / "labels.parquet", inputs / "disentangle", tmp_path)
    trained = "".join(path.read_text() for path in tmp_path.rglob("*.json*"))
    assert '"hard_sharing"' in trained
    assert "stl_long" not in trained
