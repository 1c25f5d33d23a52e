"""Trials of two ranks without Ray, and what is refused of them; test_cluster.py has them on a cluster."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from detaux.config import load_config
from detaux.errors import UserError
from detaux.sweep.run import run_sweep
from detaux.sweep.trial import Account
from shards.build import build_shards

PROGRAM = Path(__file__).with_name("rank_trial.py")
VALUES = {"losses.schedule.beta1.middle": 0.3, "losses.distance.margin": 0.5}


@pytest.fixture(scope="module")
def run_ranks(tiny, tmp_path_factory, start_ranks_for_module):
    """run_ranks(name, stop_at=0, *keys): the folder of a trial of two ranks, and what each of them reported."""
    root = tmp_path_factory.mktemp("sweep")
    build_shards(load_config(tiny), root / "shards")

    def run(name, stop_at=0, *keys):
        ranks = start_ranks_for_module(2, PROGRAM, root, tiny, name, json.dumps(VALUES), stop_at, *keys)
        outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0], outputs
        return root / "trials" / name, [json.loads(output.splitlines()[-1]) for output in outputs]

    return run


@pytest.fixture(scope="module")
def whole(run_ranks):
    """A trial that nothing interrupts."""
    return run_ranks("whole")


@pytest.mark.slow
def test_first_of_two_ranks_reports_at_the_rungs_and_the_end_and_the_other_nothing(whole):
    folder, (first, second) = whole
    assert [step for step, _ in first] == [20, 40, 60]
    assert second == []
    account = Account.load(folder)
    assert (account.status, account.attempts) == ("finished", 1)
    assert [[account.step, asdict(account.worth)]] == first[-1:]
    assert [[step, asdict(worth)] for step, worth in account.rungs.items()] == first[:-1]
    assert json.loads((folder / "disentangle" / "record.json").read_text())["facts"]["ranks"] == 2


@pytest.mark.slow
def test_ranks_of_a_trial_that_fails_end_together_and_the_next_ones_go_on_from_the_checkpoint(run_ranks, whole):
    folder, (first, second) = run_ranks("cut", stop_at=40)
    assert [report[0] for report in first[:-1]] == [20, 40]
    assert first[-1] == "trial cut: KeyboardInterrupt: "
    assert second == ["trial cut: UnforeseenError: the first rank failed."]
    account = Account.load(folder)
    assert (account.status, account.is_warm) == ("failed", True)  # on the warm-up of the other trial
    assert (folder / "log.txt").read_text().count("Traceback") == 1
    _, (first, _) = run_ranks("cut")
    assert first == whole[1][0][1:]  # step 40 is reported once more, and the end is that of the other trial
    assert "continues from step 80" in (folder / "log.txt").read_text()
    assert Account.load(folder).attempts == 2


@pytest.mark.slow
def test_ranks_measure_together_what_the_labels_bring(run_ranks, whole):
    keys = ("sweep.objective=downstream", "multitask.epochs=1", "multitask.seeds=1", "multitask.head_hidden=8")
    folder, (first, second) = run_ranks("downstream", 0, *keys)
    assert [worth["rung"] for _, worth in first] == [worth["rung"] for _, worth in whole[1][0]]
    assert second == []
    rows = [json.loads(line) for line in (folder / "downstream" / "rows.jsonl").open()]
    means = {row["weight"]: row["accuracy"] for row in rows}
    assert first[-1][1]["objective"] == pytest.approx(max(means.values()) - means[0.0])


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["sweep.ranks=2", "sweep.gpus=0.5"], r"sweep\.gpus=0\.5 and sweep\.ranks=2 do not go together"),
        (["sweep.ranks=2", "sweep.gpus=2"], "each of several ranks takes one GPU or none"),
        (["sweep.cpus=0"], "sweep.cpus=0 and sweep.gpus=0 do not go together"),
    ],
)
def test_ranks_that_cannot_be_are_refused_before_anything_starts(tiny, tmp_path, keys, sentence):
    with pytest.raises(UserError, match=sentence):
        run_sweep(load_config(tiny, [*keys, f"run.dir={tmp_path}/sweep"]), (), "")
    assert not (tmp_path / "sweep").exists()


def test_sources_without_subspaces_are_refused_before_anything_starts(tiny, tmp_path):
    keys = ["discover.sources=[graph,encoder,statistics]", f"run.dir={tmp_path}/sweep"]
    with pytest.raises(UserError, match=r"has no source whose .* the trials train; add subspace or mixture\.$"):
        run_sweep(load_config(tiny, keys), (), "")
    assert not (tmp_path / "sweep").exists()
