import copy
import dataclasses
import re

import pytest

from detaux.data.schema import OPTIONAL, BlockEntry, Manifest, Shard, read_manifest, write_manifest
from detaux.errors import UserError
from detaux.runtime.files import write_json

MANIFEST = Manifest(
    dataset="digits",
    layout="packed",
    side=16,
    channels=3,
    classes=["even", "odd"],
    principal="digit",
    factors={"digit": 10},
    split={"rule": "random", "seed": 0},
    shards=[Shard("train-00000.tar", "train", 12, 4096, "0" * 64, [BlockEntry(0, 2048, 8), BlockEntry(2048, 1024, 4)])],
    quarantined=[{"file": "a.png", "reason": "cut short"}],
    passed_over=["notes.txt"],
    names={"_": "写"},
    class_counts=[7, 5],
)
NOT_TEXT = [5, None, ["a"]]
NOT_COUNTS = ["x", 1.5, True, None, -1, 2**63]
WRONG = {
    "dataset": NOT_TEXT,
    "layout": ["zip", 1, []],
    "side": [*NOT_COUNTS, 0],
    "channels": [*NOT_COUNTS, 0],
    "classes": [5, "even", [1], {"even": 0}],
    "principal": NOT_TEXT,
    "factors": [["digit"], {"digit": "10"}, {"digit": 0}, None],
    "split": [["random"], None],
    "shards": [5, {}, ["a"]],
    "quarantined": [["a"], [{"file": "a"}], [{"file": "a", "reason": 3}], {}],
    "passed_over": ["a.txt", [3], None],
    "names": [["a"], {"a": 3}, None],
    "class_counts": [5, ["x", 1], [1], [-1, 2]],
    "shards[0].name": NOT_TEXT,
    "shards[0].split": ["secret", 1, None],
    "shards[0].samples": [*NOT_COUNTS, 0, 11],
    "shards[0].size": NOT_COUNTS,
    "shards[0].sha256": NOT_TEXT,
    "shards[0].blocks": [5, {}, [3]],
    "shards[0].blocks[1].offset": NOT_COUNTS,
    "shards[0].blocks[1].size": [*NOT_COUNTS, 0],
    "shards[0].blocks[1].samples": [*NOT_COUNTS, 0],
}


def find_parent(tree, field):
    """The mapping of `tree` that holds the last name of a dotted `field`, and that name."""
    *places, last = re.findall(r"\w+", field)
    for place in places:
        tree = tree[int(place) if place.isdigit() else place]
    return tree, last


@pytest.fixture
def tree():
    return copy.deepcopy(dataclasses.asdict(MANIFEST))


def refuse(folder, tree):
    """The one sentence with which a manifest is refused, after its path."""
    write_json(folder / "manifest.json", tree)
    with pytest.raises(UserError) as refused:
        read_manifest(folder)
    path, sentence = str(refused.value).split(": ", 1)
    assert path == str(folder / "manifest.json")
    assert sentence.endswith(" expected.")
    assert len(sentence) < 200
    return sentence


def test_manifest_read_equals_the_one_written(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_every_field_of_a_manifest_is_tried():
    names = {entry.name for cls in (Manifest, Shard, BlockEntry) for entry in dataclasses.fields(cls)} - {"version"}
    assert {field.rsplit(".", 1)[-1] for field in WRONG} == names


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_wrong_value_is_refused_with_its_field(tmp_path, tree, field, value):
    parent, name = find_parent(tree, field)
    parent[name] = value
    assert refuse(tmp_path, tree).startswith(field)


def test_manifest_of_an_earlier_release_is_read(tmp_path, tree):
    for name in OPTIONAL:
        del tree[name]
    write_json(tmp_path / "manifest.json", tree)
    assert read_manifest(tmp_path) == dataclasses.replace(MANIFEST, passed_over=[], names={}, class_counts=[])


@pytest.mark.parametrize("field", [field for field in WRONG if field not in OPTIONAL])
def test_missing_or_unknown_field_is_refused_by_name(tmp_path, tree, field):
    parent, name = find_parent(tree, field)
    value = parent.pop(name)
    assert refuse(tmp_path, tree).startswith(f"{field} is missing")
    parent.update({name: value, "extra": 1})
    assert refuse(tmp_path, tree).startswith(f"{field.removesuffix(name)}extra is unknown")


def test_blocks_that_do_not_add_up_are_refused_with_both_numbers(tmp_path, tree):
    tree["shards"][0]["blocks"].pop()
    assert refuse(tmp_path, tree) == "shards[0].samples is 12; 8, the sum of its blocks, is expected."


def test_manifest_that_is_no_mapping_or_of_another_version_is_refused(tmp_path, tree):
    assert refuse(tmp_path, ["manifest"]) == "it is ['manifest']; a mapping is expected."
    write_json(tmp_path / "manifest.json", {**tree, "version": 2, "new_field": 1})
    with pytest.raises(UserError, match="schema version 2; this release reads 1"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_manifest_that_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not a valid manifest"):
        read_manifest(tmp_path)
