import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from detaux.artefacts import LABELS_NAME
from detaux.config import load_config
from detaux.data.labels_file import is_marked_upper_bound, list_labels, read_labels, write_labels
from detaux.errors import UserError

KEYS = ["a", "b", "c"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / LABELS_NAME


def write(path, **columns):
    parquet.write_table(pa.table(columns), path)
    return path


def test_labels_that_are_written_are_read(path):
    write_labels(path, {"key": KEYS, "aux_0": [1, 0, 1], "probability_0": [1.0] * 3}, is_upper_bound=False)
    assert read_labels(path) == {"a": 1, "b": 0, "c": 1}
    assert not is_marked_upper_bound(path)


@pytest.mark.parametrize(
    "content", ["key,aux_0\na,1\n", "not a table", "", "version https://git-lfs.github.com/spec/v1\n"]
)
def test_file_that_is_no_parquet_file_is_refused_by_name(path, content):
    path.write_text(content)
    fault = {"": "is empty", "v": "is a Git LFS pointer"}.get(content[:1], "is no parquet file, or is cut short")
    with pytest.raises(
        UserError, match=rf"labels\.parquet {fault}.*; mend it, or remove it and run `detaux discover` again"
    ):
        read_labels(path)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_file_that_is_cut_is_refused(path, kept):
    write(path, key=KEYS * 100, aux_0=[0, 1, 2] * 100)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match="is no parquet file, or is cut short"):
        read_labels(path)


@pytest.mark.parametrize(
    ("columns", "lacking"), [({"key": KEYS}, "aux_0"), ({"aux_0": [0]}, "key"), ({"other": [1]}, "key")]
)
def test_missing_column_is_named_with_those_there_are(path, columns, lacking):
    with pytest.raises(UserError, match=f"has no column {lacking}; it has {next(iter(columns))}"):
        read_labels(write(path, **columns))


@pytest.mark.parametrize("name", ["key", "aux_0"])
def test_column_that_stands_twice_is_refused_by_name(path, name):
    columns = [("key", pa.array(KEYS)), ("aux_0", pa.array([0, 1, 0]))]
    columns.append((name, dict(columns)[name]))
    parquet.write_table(pa.table([values for _, values in columns], [name for name, _ in columns]), path)
    with pytest.raises(UserError, match=f"has 2 columns {name}; it has key, aux_0, {name}; mend it"):
        read_labels(path)


def test_keys_that_are_no_utf_8_and_dates_that_are_none_are_refused_by_their_column(path):
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    with pytest.raises(UserError, match="column key cannot be read: 'utf-8' codec .*; mend it"):
        read_labels(write(path, key=pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xffc")), aux_0=[0, 1, 0]))
    with pytest.raises(UserError, match="column aux_0 cannot be read: .*; mend it"):
        read_labels(write(path, key=KEYS, aux_0=pa.array([2**62] * 3, pa.timestamp("ms"))))


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog", "owl"],
        [-1, 0, 1],
        [0.5, 1.0, 2.0],
        [True, False, True],
        [0, None, 1],
        [0.0, float("nan"), 1.0],
        [[0], [1], [2]],
        [{"a": 1}] * 3,
        [b"0", b"1", b"2"],
        [float("inf"), 0.0, 1.0],
    ],
)
def test_labels_that_are_no_whole_numbers_are_refused_with_their_key(path, labels):
    with pytest.raises(UserError, match=r"aux_0 holds .* for [abc]; whole numbers from 0 on are expected"):
        read_labels(write(path, key=KEYS, aux_0=labels))


@pytest.mark.parametrize("keys", [[1, 2, 3], [None, "b", "c"], [["a"], ["b"], ["c"]]])
def test_keys_that_are_no_text_are_refused(path, keys):
    with pytest.raises(UserError, match="key holds .*; the key of a sample, as text, is expected"):
        read_labels(write(path, key=keys, aux_0=[0, 1, 2]))


def test_key_with_two_labels_is_refused_with_both(path):
    with pytest.raises(UserError, match="aux_0 gives a the labels 0 and 1"):
        read_labels(write(path, key=["a", "b", "a"], aux_0=[0, 1, 1]))
    assert read_labels(write(path, key=["a", "b", "a"], aux_0=[0, 1, 0])) == {"a": 0, "b": 1}


def test_file_edited_with_pandas_is_read(path):
    """Which makes a whole column of real numbers beside a missing one, and keeps text as categories."""
    pandas = pytest.importorskip("pandas")  # make test-lowest installs none
    write_labels(path, {"key": KEYS, "aux_0": [1, 0, 1], "probability_0": [1.0] * 3}, is_upper_bound=False)
    frame = pandas.read_parquet(path)
    frame["aux_0"] = frame["aux_0"].astype(float)
    frame["key"] = frame["key"].astype("category")
    frame.sample(frac=1, random_state=0).to_parquet(path)
    assert read_labels(path) == {"a": 1, "b": 0, "c": 1}


def test_mark_of_an_upper_bound_outlives_a_tool_that_drops_it(path):
    columns = {"key": KEYS, "aux_0": [1, 0, 1]}
    write_labels(path, columns, is_upper_bound=True)
    assert is_marked_upper_bound(path)
    write(path, **columns)
    assert not is_marked_upper_bound(path)
    path.with_name("discovery.json").write_text(json.dumps({"pairs": {"uses_ground_truth": True}}))
    assert is_marked_upper_bound(path)
    write_labels(path, columns, is_upper_bound=False)
    assert not is_marked_upper_bound(path)


def test_labels_of_a_variant_count_unless_it_found_nothing(tmp_path):
    config = load_config(None, ["multitask.discovery_seeds=[1, 2, 3]", "multitask.controls=[entangled]"])
    own = tmp_path / "discover" / "labels.parquet"
    for name, chosen in (("seed1", 2), ("seed2", -1)):
        folder = tmp_path / "variants" / name / "discover"
        folder.mkdir(parents=True)
        (folder / "discovery.json").write_text(json.dumps({"chosen": chosen}))
    expected = {"labels": own}
    for name in ("seed1", "seed3", "entangled"):  # also those that are still to be made
        expected[f"labels@{name}"] = tmp_path / "variants" / name / "discover" / "labels.parquet"
    assert list_labels(own, config) == expected
    assert list_labels(own, load_config(None)) == {"labels": own}
    late = tmp_path / "variants" / "seed2" / "discover" / "labels.parquet"
    late.write_bytes(b"made by hand")
    assert list_labels(own, config)["labels@seed2"] == late
