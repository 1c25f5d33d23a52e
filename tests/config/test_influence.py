"""The table of what each stage reads, held against what real stages ask their config for."""

import dataclasses
import sys
import typing

import pytest

from detaux.config import Config, list_neutral, load_config
from detaux.config.influence import reads
from detaux.config.load import iterate_fields
from detaux.discover.run import run_discover
from detaux.disentangle.train import run_disentangle
from detaux.errors import NothingFoundError
from detaux.multitask.run import run_multitask
from detaux.stages import COMMANDS
from shards.build import build_shards

KEYS = (
    "data.source=shapes3d",
    "data.grid=[2,2,2,2,4,1]",
    "data.side=16",
    "data.principal=shape",
    "run.device=cpu",
    "run.threads=1",
    "model.subspaces=3",
    "model.latent=4",
    "disentangle.warmup.steps=2",
    "disentangle.warmup.batch_size=8",
    "disentangle.main.steps=4",
    "disentangle.main.batch_size=8",
    "discover.clusterer=kmeans",
    "discover.clusters=2",
    "discover.min_oracle_fraction=0",
    "discover.stability_samples=1",
    "multitask.epochs=1",
    "multitask.seeds=1",
    "multitask.head_hidden=8",
    "multitask.weights=[0.5]",
)
VARIANTS = (
    ("data.noise=0.1", "model.restarts=2"),
    ("pairs.partner=nearest", "pairs.nearest=4", "pairs.neighbour_contrast=1", "discover.outliers=nearest"),
    ("pairs.partner=label", "discover.sources=[encoder]", "discover.clusterer=hdbscan", "discover.min_cluster_size=4"),
)
# whoever copies, checks, hashes or writes a config reads all of it, and a model is built by the config that lies beside it
COPIERS = ("dataclasses", "copy", "detaux.config.", "omegaconf.", "detaux.disentangle.model")


def list_sections(cls=Config, prefix=""):
    """(class of a section, its dotted name) of every section."""
    hints = typing.get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[entry.name]):
            yield hints[entry.name], f"{prefix}{entry.name}."
            yield from list_sections(hints[entry.name], f"{prefix}{entry.name}.")


@pytest.fixture
def watch(monkeypatch):
    """The dotted keys that are read from now on."""
    keys, seen = {dotted for dotted, _, _ in iterate_fields()}, set()
    for cls in {cls for cls, _ in list_sections()}:
        prefixes = [prefix for other, prefix in list_sections() if other is cls]

        def get(self, name, prefixes=prefixes):
            if not sys._getframe(1).f_globals["__name__"].startswith(COPIERS):
                seen.update(keys & {f"{prefix}{name}" for prefix in prefixes})
            return object.__getattribute__(self, name)

        monkeypatch.setattr(cls, "__getattribute__", get)
    return seen


@pytest.mark.parametrize("variant", VARIANTS, ids=["noise", "nearest", "label"])
def test_stage_reads_no_key_but_those_of_its_row(watch, tmp_path, variant):
    config = load_config(None, [*KEYS, *variant, f"run.dir={tmp_path}"])
    shards, disentangle, discover = tmp_path / "shards", tmp_path / "disentangle", tmp_path / "discover"

    def find():
        try:
            run_discover(config, shards, disentangle, discover)
        except NothingFoundError:
            pytest.fail("the next stage has nothing to read")

    for stage, run in {
        "shards": lambda: build_shards(config, shards),
        "disentangle": lambda: run_disentangle(config, shards, disentangle),
        "discover": find,
        "multitask": lambda: run_multitask(config, shards, discover, disentangle, tmp_path / "multitask"),
    }.items():
        watch.clear()
        run()
        assert watch, stage
        assert {dotted for dotted in watch if not reads(stage, dotted)} <= list_neutral(), stage


def test_rows_name_sections_and_keys_that_exist():
    known = {dotted for dotted, _, _ in iterate_fields()}
    for command in COMMANDS.values():
        assert set(command.ignores) <= known
        for name in command.reads:
            assert any(dotted == name or dotted.startswith(f"{name}.") for dotted in known), name
            assert name.split(".")[0] in command.sections, name


def test_every_key_is_read_by_some_stage_or_neutral():
    unread = {dotted for dotted, _, _ in iterate_fields() if not any(reads(stage, dotted) for stage in COMMANDS)}
    assert unread <= list_neutral()
