"""The table of stages, against the functions and the folders that it names."""

import inspect

import pytest

from detaux import pipeline
from detaux.artefacts import RECORD_NAME
from detaux.config import load_config
from detaux.stages import RUN, STAGES, SWEEP

STAGE_ROWS = [pytest.param(stage, id=name) for name, stage in STAGES.items()]


@pytest.mark.parametrize("stage", STAGE_ROWS)
def test_runner_takes_the_config_a_folder_for_each_input_and_its_own(stage):
    parameters = list(inspect.signature(stage.load_runner()).parameters.values())
    assert len([one for one in parameters if one.default is one.empty]) == len(stage.inputs) + 2
    assert ("observe" in [one.name for one in parameters]) == stage.is_observed


@pytest.mark.parametrize("stage", STAGE_ROWS)
def test_stage_reads_what_an_earlier_one_leaves(stage):
    order = list(STAGES)
    for one in stage.inputs:
        assert order.index(one.maker) < order.index(stage.name)
        assert one.file.split("/")[0] in STAGES[one.maker].leaves


@pytest.mark.parametrize("stage", STAGE_ROWS)
def test_names_of_a_stage_are_among_those_it_leaves(stage):
    files = [file for names in stage.artefacts.values() for file in names]
    assert {file.split("/")[0] for file in [*files, *stage.editable, *stage.unread]} <= set(stage.leaves)
    assert stage.is_recorded == (stage.name != "report") == (RECORD_NAME in stage.leaves)


def test_run_has_the_sections_of_every_stage_and_a_sweep_its_own_too():
    assert set(RUN.sections) == {section for stage in STAGES.values() for section in stage.sections}
    assert set(SWEEP.sections) == {*RUN.sections, "sweep"}


@pytest.mark.parametrize(
    ("stage", "rounds", "expected"),
    [
        ("disentangle", 1, ["train"]),
        ("discover", 0, ["train"]),
        ("discover", 1, ["train", "validation", "test"]),
        ("multitask", 0, ["train", "validation", "test"]),
    ],
)
def test_stage_fetches_the_splits_that_it_reads(stage, rounds, expected, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr("detaux.data.remote.fetch_tars", lambda data, folder, splits: fetched.extend(splits))
    config = load_config(None, [f"discover.cross_prediction.rounds={rounds}"])
    pipeline._fetch_tars(stage, pipeline.Job(config, "", fetched=tmp_path))
    assert fetched == expected


def test_recombination_reads_the_model_and_without_it_multitask_does_not(chain, tmp_path, capsys):
    chain()
    assert chain("multitask", "multitask.recombine=0.5") == (0, ["multitask"])
    assert chain("multitask", "multitask.recombine=0.5") == (0, [])
    model = tmp_path / "demo/disentangle/checkpoint/model.safetensors"
    model.unlink()
    capsys.readouterr()
    assert chain("multitask", "multitask.recombine=0.5") == (2, [])
    sentence = capsys.readouterr().err
    assert f"{model} does not exist, and multitask reads it; run `detaux disentangle " in sentence
    assert chain("multitask", "multitask.recombine=0") == (0, ["multitask"])
