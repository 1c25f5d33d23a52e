"""The chain of stages: which run again, which are kept, and what is never written over."""

import json
import shutil
import sys

import numpy as np
import pytest

from detaux import pipeline
from detaux.cli import run_command
from detaux.errors import NothingFoundError
from detaux.runtime.files import write_json
from detaux.runtime.record import hash_inputs

ALL = ["shards", "disentangle", "discover", "multitask", "report"]
ASKED = ("discovery_seeds=[1, 2]", "discovery_clusterers=[kmeans]", "controls=[entangled]")
VARIANTS = [f"multitask.{text}" for text in ASKED]
SEEDED = ["disentangle@seed1", "disentangle@seed2"]
DISCOVERED = ["discover", "discover@seed1", "discover@seed2", "discover@kmeans", "discover@entangled"]


def test_run_chains_all_stages_and_says_what_each_wrote_and_what_is_next(chain, tmp_path, capsys):
    assert chain() == (0, ALL)
    output = capsys.readouterr().out
    for stage, following in zip(ALL, [*ALL[1:], None], strict=True):
        line = next(line for line in output.splitlines() if line.startswith(f"{stage}: wrote"))
        assert str(tmp_path / "demo" / stage) in line
        assert f"detaux {following}" in line if following else "report.html. Next: open it" in line
    assert "cats/7.png: truncated" in output


def test_run_again_skips_every_unchanged_stage_and_says_so(chain, capsys):
    chain()
    capsys.readouterr()
    assert chain() == (0, ["report"])
    output = capsys.readouterr().out
    assert [line.split(":")[0] for line in output.splitlines() if "unchanged" in line] == ALL[:-1]
    assert "cats/7.png: truncated" in output


@pytest.mark.parametrize(
    ("override", "repeated"),
    [
        ("data.split_seed=1", ALL),
        ("pairs.pull=1", ["disentangle", "discover", "multitask", "report"]),
        ("discover.tasks=2", ["discover", "multitask", "report"]),
        ("multitask.epochs=3", ["multitask", "report"]),
        ("data.workers=2", ["report"]),
        ("data.labelled_fraction=0.5", ALL),
        ("data.noise=0.1", ALL[1:]),
        ("data.window=100", ALL[1:]),
        ("run.seed=7", ALL[1:]),
        ("report.examples=4", ["report"]),
        ("report.title=Other", ["report"]),
        ("pairs.pool=100", ["disentangle", "discover", "multitask", "report"]),
        ("losses.weights.distance=2", ["disentangle", "discover", "multitask", "report"]),
        ("track.project=other", ["report"]),
    ],
)
def test_run_repeats_exactly_the_stages_a_key_reaches(chain, override, repeated):
    chain()
    assert chain("run", override) == (0, repeated)


def test_run_rebuilds_shards_when_a_picture_is_added(chain, tmp_path):
    chain()
    (tmp_path / "photos" / "new.png").touch()
    assert chain()[1][0] == "shards"


def test_run_repeats_a_stage_whose_output_was_lost(chain, tmp_path):
    chain()
    (tmp_path / "demo" / "discover" / "labels.parquet").unlink()
    assert chain() == (0, ["discover", "report"])


def test_edited_labels_are_kept_and_used(chain, tmp_path, capsys):
    chain()
    labels = tmp_path / "demo" / "discover" / "labels.parquet"
    labels.write_text("merged by hand")
    assert chain() == (0, ["multitask", "report"])
    assert f"{labels} was edited; the stages after it use it as it is." in capsys.readouterr().out
    assert labels.read_text() == "merged by hand"
    assert chain() == (0, ["report"])


def test_labels_of_other_splits_may_be_edited_or_deleted_and_nothing_runs_again(chain, tmp_path, capsys):
    chain()
    folder = tmp_path / "demo" / "discover"
    path = folder / "labels-test.parquet"
    path.write_text("found")
    record = json.loads((folder / "record.json").read_text())
    write_json(folder / "record.json", record | {"outputs": record["outputs"] | hash_inputs({path.name: path})})
    assert chain() == (0, ["report"])
    assert path.name not in capsys.readouterr().out
    path.write_text("merged by hand")
    assert chain() == (0, ["report"])
    assert f"{path} was edited; it is kept, and no stage reads it." in capsys.readouterr().out
    assert path.read_text() == "merged by hand"
    path.unlink()
    assert chain() == (0, ["report"])
    assert f"{path} is missing; no stage reads it, and only another discovery makes it." in capsys.readouterr().out


def test_edited_labels_are_kept_beside_those_of_another_discovery(chain, tmp_path, capsys):
    chain()
    labels = tmp_path / "demo" / "discover" / "labels.parquet"
    for number, edit in enumerate(("merged by hand", "split by hand"), start=1):
        labels.write_text(edit)
        labels.with_name("labels-test.parquet").write_text(edit)
        assert chain("run", f"discover.tasks={number + 1}")[1] == ["discover", "multitask", "report"]
        kept = labels.with_name(f"labels-edited-{number}.parquet")
        assert kept.read_text() == labels.with_name(f"labels-test-edited-{number}.parquet").read_text() == edit
        printed = capsys.readouterr().out
        assert f"{labels} has changed since its stage wrote it" in printed
        assert f"the changed file is kept as {kept}." in printed
    assert chain("run", "discover.tasks=3")[1] == ["report"]
    assert len(list(labels.parent.glob("*edited*"))) == 4


def test_edited_labels_outlive_what_discovery_does_not_read(chain, tmp_path):
    chain()
    labels = tmp_path / "demo" / "discover" / "labels.parquet"
    labels.write_text("merged by hand")
    assert chain("run", "report.examples=4", "multitask.epochs=3", "data.workers=2") == (0, ["multitask", "report"])
    assert labels.read_text() == "merged by hand"


def test_labels_that_were_removed_are_not_called_none_found(chain, tmp_path, capsys):
    chain()
    discover = tmp_path / "demo" / "discover"
    (discover / "labels.parquet").unlink()
    for chosen, sentence in ((3, "run `detaux discover"), (-1, "discovery found no task")):
        (discover / "discovery.json").write_text(json.dumps({"chosen": chosen}))
        assert chain("multitask")[0] == 2
        assert sentence in capsys.readouterr().err
    (discover / "discovery.json").write_text("{")
    assert chain("multitask")[0] == 2
    assert "discovery.json is no JSON file" in capsys.readouterr().err


def test_config_of_a_stage_that_is_cut_short_is_not_believed(chain, tmp_path, capsys):
    chain()
    path = tmp_path / "demo" / "shards" / "config.yaml"
    path.write_text(path.read_text()[:60])  # still YAML, of other keys
    assert chain("disentangle", "pairs.pull=1")[0] == 2
    assert "config.yaml is not what the stage shards wrote; run that stage again." in capsys.readouterr().err
    assert chain() == (0, ["shards", "report"])


@pytest.mark.parametrize("name", ["disentangle", "discover", "multitask", "variants/seed2/disentangle"])
def test_folder_of_somebody_else_is_not_written_to(chain, tmp_path, capsys, name):
    theirs = tmp_path / "demo" / name / "thesis.tex"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    assert chain("run", *VARIANTS) == (2, [])
    assert f"its folder {name} holds thesis.tex and nothing of a run; set another run.dir." in capsys.readouterr().err
    assert theirs.read_text() == "mine"


def test_stage_alone_refuses_shards_of_another_config(chain, capsys):
    chain()
    assert chain("disentangle", "data.side=64")[0] == 2
    assert "was built with data.side=32 and the config says 64" in capsys.readouterr().err
    assert chain("disentangle", "data.noise=0.1", "data.workers=1") == (0, ["disentangle"])


def test_run_with_given_shards_builds_none(chain, tmp_path):
    chain()
    shutil.move(tmp_path / "demo" / "shards", tmp_path / "set")
    # the same set in another place: what was trained on it stays
    assert chain("run", f"data.shards={tmp_path}/set")[1] == ["report"]
    assert not (tmp_path / "demo" / "shards").exists()


def test_absent_package_of_a_rule_is_named_before_the_first_stage(chain, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    rule = "multitask.methods=[hard_sharing+pcgrad]"
    assert chain("run", rule) == (2, [])
    assert "the rule +pcgrad needs the Python package torchjd" in capsys.readouterr().err.replace("\n", " ")
    assert chain()[0] == 0
    assert chain("discover", rule)[0] == 0


def test_source_that_cannot_work_is_refused_before_the_first_stage(chain, monkeypatch, capsys, tmp_path):
    (tmp_path / "features.npy").write_text("no array")
    features = ["discover.sources=[features]", f"discover.features={tmp_path}/features.npy"]
    assert chain("run", *features) == (2, [])
    assert "features.npy is no .npy file" in capsys.readouterr().err.replace("\n", " ")
    monkeypatch.setitem(sys.modules, "umap", None)
    assert chain("run", "discover.sources=[layout]") == (2, [])
    assert "discover.sources with layout needs the Python package umap" in capsys.readouterr().err.replace("\n", " ")
    assert chain("run", *features) == (2, [])
    assert "run `pip install 'detaux[layout]'`" in capsys.readouterr().err.replace("\n", " ")


def test_changed_file_of_features_repeats_discovery(chain, tmp_path):
    path = tmp_path / "features.npy"
    features = ["discover.sources=[features]", f"discover.features={path}"]
    np.save(path, np.eye(3))
    assert chain("run", *features)[0] == 0
    assert chain("run", *features) == (0, ["report"])
    np.save(path, 2 * np.eye(3))
    assert chain("run", *features) == (0, ["discover", "multitask", "report"])


def test_missing_model_of_a_restart_is_named_with_the_command_that_makes_it(chain, tmp_path, capsys):
    chain()
    assert chain("discover", "model.restarts=2") == (2, [])
    sentence = capsys.readouterr().err
    assert f"{tmp_path}/demo/disentangle/restart_1/checkpoint/model.safetensors does not exist" in sentence
    assert "run `detaux disentangle " in sentence


def test_one_stage_runs_alone_from_files(chain):
    chain()
    assert chain("discover", "discover.tasks=3") == (0, ["discover"])
    assert chain("discover", "discover.tasks=3") == (0, [])


def test_run_that_finds_nothing_reports_and_exits_3(chain, monkeypatch, capsys):
    call_runner = pipeline.call_runner

    def find_nothing(stage, job, folder):
        if stage.name == "discover":
            raise NothingFoundError("no task found: one cluster.")
        call_runner(stage, job, folder)

    monkeypatch.setattr(pipeline, "call_runner", find_nothing)
    assert chain() == (3, ["shards", "disentangle", "report"])
    assert capsys.readouterr().err == "detaux: no task found: one cluster.\n"
    assert chain("discover") == (3, [])


def test_report_command_keeps_the_title_the_run_was_made_with(chain, monkeypatch, tmp_path):
    seen = []

    def build(runs, folder, config):
        seen.append((folder, config.title, config.examples))
        return folder / "report.html"

    monkeypatch.setattr("detaux.report.build.build_report", build)
    chain("run", "report.title=Hues", "report.examples=5")
    demo = str(tmp_path / "demo")
    for arguments in ([demo], [demo, "report.examples=2"], [demo, demo], [demo, "--out", f"{tmp_path}/page"]):
        assert run_command(["report", *arguments]) == 0
    assert seen == [
        (tmp_path / "demo" / "report", "Hues", 5),
        (tmp_path / "demo" / "report", "Hues", 2),
        (tmp_path / "report", "Detaux report", 8),
        (tmp_path / "page", "Hues", 5),
    ]


def test_run_repeats_for_a_variant_only_the_stages_that_read_its_keys(chain, tmp_path):
    assert chain("run", *VARIANTS) == (0, ["shards", "disentangle", *SEEDED, *DISCOVERED, "multitask", "report"])
    assert chain("run", *VARIANTS) == (0, ["report"])
    root = tmp_path / "demo"
    for name, place in (("seed1", root / "variants/seed1/disentangle"), ("kmeans", root / "disentangle")):
        read = json.loads((root / f"variants/{name}/discover/record.json").read_text())["inputs"]["model"]
        assert read == hash_inputs({"model": place / "checkpoint/model.safetensors"})["model"]
    read = json.loads((root / "multitask" / "record.json").read_text())["inputs"]
    assert {f"labels@{name}" for name in ("seed1", "seed2", "kmeans", "entangled")} < set(read)


def test_changed_key_repeats_only_the_variants_that_it_reaches(chain):
    chain("run", *VARIANTS)
    keys = list(VARIANTS)  # each key below is added to those before it
    for key, repeated in (
        ("multitask.discovery_seeds=[2,5]", ["disentangle@seed5", "discover@seed5"]),
        ("discover.clusterer=meanshift", ["discover", "discover@seed2", "discover@seed5", "discover@entangled"]),
        ("multitask.discovery_clusterers=[]", []),
        ("run.seed=7", ["disentangle", "discover", "discover@entangled"]),
        ("discover.tasks=2", ["discover", "discover@seed2", "discover@seed5", "discover@entangled"]),
    ):
        keys.append(key)
        assert chain("run", *keys) == (0, [*repeated, "multitask", "report"])


def test_stage_alone_runs_the_variants_too_and_multitask_names_the_missing_one(chain, tmp_path, capsys):
    chain()
    for stage, ran in (("disentangle", SEEDED), ("discover", DISCOVERED[1:])):
        assert chain("multitask", *VARIANTS) == (2, [])
        sentence = capsys.readouterr().err
        assert f"{tmp_path}/demo/variants/seed1/discover/labels.parquet does not exist" in sentence
        assert "run `detaux discover " in sentence
        assert chain(stage, *VARIANTS) == (0, ran)
    assert chain("multitask", *VARIANTS) == (0, ["multitask"])


def test_variant_that_finds_nothing_loses_no_run_and_is_tried_again(chain, monkeypatch, capsys, tmp_path):
    call_runner = pipeline.call_runner

    def find_nothing(stage, job, folder):
        if stage.name == "discover" and job.variant and job.variant.name == "seed2":
            write_json(folder / "discovery.json", {"chosen": -1})
            raise NothingFoundError("no hidden task was found: none of 3 may be chosen.\nTry ...")
        call_runner(stage, job, folder)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "call_runner", find_nothing)
        found = [name for name in DISCOVERED if "seed2" not in name]
        assert chain("run", *VARIANTS) == (0, ["shards", "disentangle", *SEEDED, *found, "multitask", "report"])
        assert "discover: variant seed2 (run.seed=2): no hidden task was found: none of 3" in capsys.readouterr().out
        assert chain("run", *VARIANTS) == (0, ["report"])
    read = json.loads((tmp_path / "demo" / "multitask" / "record.json").read_text())["inputs"]
    assert "labels@seed2" not in read
    assert chain("run", *VARIANTS) == (0, ["discover@seed2", "multitask", "report"])


@pytest.mark.parametrize("stopped", ["disentangle@seed2", "discover@kmeans"])
def test_run_stopped_in_a_variant_goes_on_there(chain, monkeypatch, stopped):
    call_runner = pipeline.call_runner
    whole = ["shards", "disentangle", *SEEDED, *DISCOVERED, "multitask", "report"]

    def stop(stage, job, folder):
        if job.variant and f"{stage.name}@{job.variant.name}" == stopped:
            raise KeyboardInterrupt
        call_runner(stage, job, folder)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "call_runner", stop)
        assert chain("run", *VARIANTS) == (130, whole[: whole.index(stopped)])
    assert chain("run", *VARIANTS) == (0, whole[whole.index(stopped) :])


def test_edited_labels_of_a_variant_are_kept_and_used(chain, tmp_path, capsys):
    chain("run", *VARIANTS)
    labels = tmp_path / "demo/variants/seed1/discover/labels.parquet"
    labels.write_text("merged by hand")
    assert chain("run", *VARIANTS) == (0, ["multitask", "report"])
    assert f"{labels} was edited" in capsys.readouterr().out
    assert chain("run", *VARIANTS, "discover.tasks=2")[1] == [*DISCOVERED, "multitask", "report"]
    assert labels.with_name("labels-edited-1.parquet").read_text() == "merged by hand"


def test_build_replaces_a_shard_set_and_nothing_else(chain, tmp_path, capsys):
    chain()
    stray = tmp_path / "demo" / "shards" / "notes.txt"
    stray.write_text("mine")
    assert chain("run", "data.split_seed=1")[0] == 2
    assert "notes.txt" in capsys.readouterr().err
    assert stray.read_text() == "mine"


def test_build_takes_no_tar_of_somebody_else_for_its_own(chain, tmp_path, capsys):
    chain()
    theirs = tmp_path / "demo" / "shards" / "holiday.tar"
    theirs.write_text("mine")
    assert chain("run", "data.split_seed=1")[0] == 2
    assert "holds holiday.tar, which belongs to no shard set" in capsys.readouterr().err
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize("name", [".git/HEAD", ".dvc/config", ".gitattributes", ".gitignore"])
def test_build_deletes_no_hidden_file_of_others(chain, tmp_path, capsys, name):
    chain()
    theirs = tmp_path / "demo" / "shards" / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("mine")
    assert chain("run", "data.split_seed=1")[0] == 2
    assert f"holds {name.split('/')[0]}, which belongs to no shard set" in capsys.readouterr().err
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize("name", [".lock", ".DS_Store"])
def test_hidden_file_that_is_worth_nothing_keeps_no_set_from_being_built(chain, tmp_path, name):
    folder = tmp_path / "demo" / "shards"
    folder.mkdir(parents=True)
    for seed in (0, 1):
        (folder / name).write_bytes(b"")
        assert chain("run", f"data.split_seed={seed}")[1][0] == "shards"


def test_damaged_set_is_built_anew(chain, tmp_path):
    chain()
    (tmp_path / "demo" / "shards" / "manifest.json").write_text("{")
    assert chain()[1][0] == "shards"


def test_folder_of_tars_with_a_manifest_of_another_kind_is_not_replaced(chain, tmp_path, capsys):
    theirs = tmp_path / "demo" / "shards"
    theirs.mkdir(parents=True)
    for name in ("manifest.json", "a.tar"):
        (theirs / name).write_text("{}")
    assert chain()[0] == 2
    assert "holds a.tar, which belongs to no shard set" in capsys.readouterr().err
    assert sorted(path.name for path in theirs.iterdir()) == ["a.tar", "manifest.json"]
