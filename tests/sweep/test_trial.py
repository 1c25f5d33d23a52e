"""A trial in this process, without Ray: what it reports, and that it goes on where it was killed."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from detaux.artefacts import MODEL_FILE
from detaux.config import load_config
from detaux.disentangle.model import load_disentangler
from detaux.errors import NonFiniteLossError, UserError
from detaux.pipeline import run_stages
from detaux.sweep import trial
from detaux.sweep.objective import Judge, Worth
from detaux.sweep.trial import TRIAL_NAME, Account, Sweep, run_trial
from shards.build import build_shards

VALUES = {"losses.schedule.beta1.middle": 0.3, "losses.distance.margin": 0.5}


@pytest.fixture(scope="module")
def sweep(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    config = load_config(tiny, ["disentangle.warmup.steps=10", "disentangle.main.steps=30", "sweep.first_rung=10"])
    build_shards(config, root / "shards")
    return Sweep(config, root, str(root / "shards"), root)


@pytest.fixture(scope="module")
def whole(sweep):
    """What a trial reports that nothing interrupts."""
    return run(sweep, "whole")


def run(sweep, name, stop_at=None):
    reports = []

    def report(step, worth):
        reports.append((step, worth))
        if step == stop_at:
            raise KeyboardInterrupt

    run_trial(VALUES, sweep, name, report)
    return reports


def test_trial_reports_at_its_rungs_and_at_the_end(sweep, whole):
    assert [step for step, _ in whole] == [10, 20, 30]
    assert all(worth.objective > 0 for _, worth in whole)
    account = Account.load(sweep.root / "trials" / "whole")
    assert (account.status, account.values, account.step, account.attempts) == ("finished", VALUES, 30, 1)
    assert account.rungs == dict(whole[:2])
    assert account.worth == whole[-1][1]
    assert 0 < account.worth.v_measure < 1


def test_trial_without_a_scheduler_reports_its_end_alone(sweep):
    settings = replace(sweep.config.sweep, scheduler="none")
    assert replace(sweep, config=replace(sweep.config, sweep=settings)).list_rungs() == []


@pytest.mark.parametrize(("cpus", "processes"), [(0.5, 1), (4.0, 4)])
def test_trial_judges_candidates_on_its_own_cores(cpus, processes, sweep):
    config = replace(sweep.config, sweep=replace(sweep.config.sweep, cpus=cpus))
    job = replace(sweep, config=config).make_job(sweep.root / "t", VALUES)
    assert job.config.discover.cross_prediction.processes == processes


def test_observed_training_ends_with_the_weights_of_an_unobserved_one(sweep, whole, tmp_path):
    run_stages(("disentangle",), sweep.make_job(tmp_path, VALUES))
    observed = load_file(sweep.root / "trials" / "whole" / "disentangle" / MODEL_FILE)
    alone = load_file(tmp_path / "disentangle" / MODEL_FILE)
    assert all(torch.equal(observed[name], alone[name]) for name in alone)


@pytest.mark.parametrize("objective", ["discovery", "known_factor"])
def test_objective_of_the_trained_model_equals_that_of_the_discover_stage(sweep, whole, objective):
    config = replace(sweep.config, sweep=replace(sweep.config.sweep, objective=objective))
    folder = sweep.root / "trials" / "whole"
    job = replace(sweep, config=config).make_job(folder, VALUES)
    model = load_disentangler(folder / "disentangle", torch.device("cpu"))
    account = Account(folder / "unused.json")
    trial._judge_end(account, job, 0.0)
    judged = Judge(job.config, job.shards).judge(model)
    assert judged.objective == pytest.approx(account.worth.objective, abs=1e-6)
    assert (judged.factor, judged.v_measure) == (account.worth.factor, account.worth.v_measure)


def test_trial_is_worth_what_its_labels_bring_and_rungs_compare_it_by_what_is_known_there(sweep, whole):
    keys = {"objective": "downstream", "tradeoffs": ["stability"]}
    multitask = replace(sweep.config.multitask, epochs=1, seeds=1, weights=[0.5], head_hidden=8)
    config = replace(sweep.config, sweep=replace(sweep.config.sweep, **keys), multitask=multitask)
    *rungs, (step, end) = run(replace(sweep, config=config), "downstream")
    assert [(worth.objective, worth.rung) for _, worth in rungs] == [(None, worth.rung) for _, worth in whole[:-1]]
    assert step == 30
    rows = [json.loads(line) for line in (sweep.root / "trials/downstream/downstream/rows.jsonl").open()]
    (alone,) = [row["accuracy"] for row in rows if row["method"] == "stl"]
    assert end.objective == pytest.approx(max(row["accuracy"] for row in rows) - alone)
    assert {row["labels"] for row in rows} == {"none", "discovered"}
    assert -1 <= end.tradeoffs["stability"] <= 1
    assert end.tradeoffs["stability"] != 0


def test_interrupted_trial_goes_on_from_its_checkpoint_and_ends_as_an_uninterrupted_one(sweep, whole):
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        run(sweep, "cut", stop_at=20)
    account = Account.load(sweep.root / "trials" / "cut")
    assert account.status == "failed"
    assert run(sweep, "cut") == whole[1:]  # step 20 is reported once more and not computed again
    assert "continues from step 30" in (sweep.root / "trials" / "cut" / "log.txt").read_text()
    assert Account.load(sweep.root / "trials" / "cut").attempts == 2


def test_trial_that_the_scheduler_stops_has_not_failed(sweep):
    def stop(step, worth):
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        run_trial(VALUES, sweep, "stopped", stop)
    account = Account.load(sweep.root / "trials" / "stopped")
    assert (account.status, account.error, account.step) == ("running", "", 10)


def test_finished_trial_reports_its_end_again_and_trains_no_more(sweep, whole):
    path = sweep.root / "trials" / "whole" / "disentangle" / "record.json"
    before = path.stat().st_mtime_ns
    assert run(sweep, "whole") == whole[-1:]
    assert path.stat().st_mtime_ns == before


def test_training_that_diverges_is_a_trial_worth_nothing(sweep, monkeypatch):
    def diverge(stages, job):
        raise NonFiniteLossError(3, ["distance"], "the learning rate")

    monkeypatch.setattr(trial, "run_stages", diverge)
    assert run(sweep, "diverged") == [(0, Worth())]
    assert Account.load(sweep.root / "trials" / "diverged").status == "diverged"


def test_wrong_combination_of_values_fails_with_its_sentence(sweep):
    with pytest.raises(RuntimeError, match=r"pairs\.reuse=5"):
        run_trial(VALUES | {"pairs.reuse": 5}, sweep, "wrong", lambda step, worth: None)
    found = json.loads((sweep.root / "trials" / "wrong" / "trial.json").read_text())
    assert found["status"] == "failed"
    assert "is not a multiple of pairs.reuse=5" in found["error"]


@pytest.mark.parametrize(
    "content", ["", '{"status": "fin', "[]", "{}", '{"rungs": {"a": {}}, "worth": null}', '{"rungs": 1}']
)
def test_damaged_account_is_named_with_the_way_on(tmp_path, content):
    (tmp_path / TRIAL_NAME).write_text(content)
    with pytest.raises(UserError, match=rf"{tmp_path / TRIAL_NAME} .*; delete .* and run `detaux sweep` again\.$"):
        Account.load(tmp_path)
