"""ASHA after a kill, decision by decision, against ASHA that was never stopped; no Ray is started."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler

from detaux.config import load_config
from detaux.sweep.asha import RecallingASHA
from detaux.sweep.objective import Worth
from detaux.sweep.trial import Account, Sweep

RUNGS = (10, 30, 90)
STEPS = 200


KEYS = ("sweep.first_rung=10", "sweep.reduction=3", f"disentangle.main.steps={STEPS}")


def make_sweep(root):
    return Sweep(load_config(None, KEYS), root, "", root)


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path / "sweep")


class Driver:
    """What Tune does with a scheduler and trials of known worth, one after the other, and what the trials keep of it."""

    def __init__(self, sweep, scheduler):
        self.sweep, self.scheduler, self.stopped = sweep, scheduler, {}

    def add(self, name):
        self.scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))

    def report(self, name, step, worth):
        """Report a rung as a trial does: it is in its account before it is answered. Whether the trial goes on."""
        account = Account.load(self.folder(name))
        account.rungs[step] = Worth(rung=worth)
        account.note(step, Worth(rung=worth))
        account.save()
        answer = self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), {"step": step, "rung": worth})
        if answer == ASHAScheduler.STOP:
            self.stopped[name] = step
            return False
        account.passed = step
        account.save()
        return True

    def folder(self, name):
        folder = self.sweep.root / "trials" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def run(self, name, worths):
        self.add(name)
        for step, worth in zip(RUNGS, worths, strict=True):
            if not self.report(name, step, worth):
                return
        account = Account.load(self.folder(name))
        account.status = "finished"
        account.note(STEPS, Worth(rung=worths[-1]))
        account.save()
        last = {"step": STEPS, "rung": worths[-1]}
        self.scheduler.on_trial_complete(None, SimpleNamespace(trial_id=name), last)


def draw_worths(seed):
    return {f"t{number:02d}": row for number, row in enumerate(np.random.default_rng(seed).random((12, 3)).tolist())}


def restore(scheduler):
    """As Tuner.restore does it: from what was written before the first trial."""
    return pickle.loads(scheduler)


@pytest.mark.parametrize("seed", range(5))
def test_sweep_killed_after_six_trials_stops_those_of_one_that_was_not(sweep, tmp_path, seed):
    worths = draw_worths(seed)
    whole = Driver(sweep, RecallingASHA(sweep))
    for name, row in worths.items():
        whole.run(name, row)
    assert 2 < len(whole.stopped) < 12

    other = make_sweep(tmp_path / "other")
    first = RecallingASHA(other)
    saved = pickle.dumps(first)
    before = Driver(other, first)
    for name in list(worths)[:6]:
        before.run(name, worths[name])
    after = Driver(other, restore(saved))
    for name in list(worths)[6:]:
        after.run(name, worths[name])
    assert {**before.stopped, **after.stopped} == whole.stopped


def test_scheduler_of_tune_alone_forgets_its_rungs(sweep):
    """Tuner.restore begins with the scheduler as it was before the first trial: the reason for ours."""
    first = RecallingASHA(sweep)
    plain = ASHAScheduler(time_attr="step", metric="rung", mode="max", grace_period=10, max_t=STEPS, reduction_factor=3)
    saved = [pickle.dumps(scheduler) for scheduler in (first, plain)]
    Driver(sweep, first).run("a", (0.9, 0.9, 0.9))
    answers = []
    for scheduler in map(restore, saved):
        driver = Driver(sweep, scheduler)
        driver.add("b")
        answers.append(driver.report("b", 10, 0.1))
    assert answers == [False, True]


def test_trial_that_was_killed_before_the_answer_gets_it_when_it_reports_again(sweep):
    saved = pickle.dumps(RecallingASHA(sweep))
    driver = Driver(sweep, RecallingASHA(sweep))
    for name, worth in (("a", 0.9), ("b", 0.8)):
        driver.add(name)
        driver.report(name, 10, worth)
    driver.add("c")
    account = Account.load(driver.folder("c"))
    account.rungs[10] = Worth(rung=0.1)
    account.note(10, Worth(rung=0.1))
    account.save()  # and then the kill
    again = Driver(sweep, restore(saved))
    for name in "abc":
        again.add(name)
    assert again.report("a", 10, 0.9)  # which passed it before, and goes on whatever others have
    assert not again.report("c", 10, 0.1)


def test_rungs_and_the_end_of_a_finished_trial_are_recalled(sweep):
    saved = pickle.dumps(RecallingASHA(sweep))
    Driver(sweep, RecallingASHA(sweep)).run("a", (0.9, 0.8, 0.7))
    recalled = restore(saved)._brackets[0]._rungs
    assert {step: list(entries.values()) for step, entries in recalled} == {90: [0.7], 30: [0.8], 10: [0.9]}
