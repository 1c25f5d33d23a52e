import os
from pathlib import Path

import optuna
import pytest

from detaux.config import load_config
from detaux.config.load import get_value
from detaux.errors import UserError
from detaux.sweep.objective import gives_upper_bound
from detaux.sweep.space import Dimension, parse_space, suggest_values

ROOT = Path(__file__).parents[2]
SPACE = """
sweep:
  space:
    losses.schedule.beta1.middle: {uniform: [0.2, 0.7], unit: progress}
    model.subspaces: {integer: [4, 6]}
    losses.distance.margin: {log: [0.01, 1.0], when: {losses.distance.form: official}}
    losses.distance.form: {choice: [paper, official]}
"""
# The value of sweep.space -> what the one sentence must name.
WRONG = {
    "{}": "names no key to vary",
    "[model.latent]": "names no key to vary",
    "{model.subspace: {integer: [2, 4]}}": "unknown key model.subspace; the nearest is model.subspaces",
    "{model: {integer: [2, 4]}}": "model is a section",
    "{model.latent: 3}": "uniform|log|integer|choice",
    "{model.latent: {integers: [2, 4]}}": "uniform|log|integer|choice",
    "{model.latent: {integer: [2, 4], choice: [2]}}": "uniform|log|integer|choice",
    "{model.latent: {integer: [2, 4], whem: {}}}": "when and unit",
    "{model.latent: {integer: [2]}}": "[low, high]",
    "{model.latent: {choice: []}}": "a list of values",
    "{model.latent: {choice: 8}}": "a list of values",
    "{model.subspaces: {integer: [1, 4]}}": "model.subspaces=1 is out of range; expected int from 2 to 256",
    "{model.subspaces: {integer: [4, 300]}}": "model.subspaces=300 is out of range",
    "{model.subspaces: {integer: [6, 4]}}": "low below high",
    "{model.subspaces: {uniform: [4, 6]}}": "whole numbers; use integer",
    "{model.subspaces: {integer: [4, 4.5]}}": "model.subspaces=4.5",
    "{losses.distance.margin: {integer: [1, 2.5]}}": "whole numbers",
    "{losses.distance.margin: {log: [0, 1]}}": "low above 0",
    "{losses.distance.margin: {uniform: [a, b]}}": "losses.distance.margin='a'",
    "{model.encoder: {uniform: [patch_conv, simple_conv]}}": "expected numbers",
    "{model.encoder: {choice: [patch_conf]}}": "model.encoder='patch_conf'",
    "{pairs.reuse: {choice: [1, 500]}}": "pairs.reuse=500",
    "{data.side: {choice: [16, 32]}}": "all trials read the same shards",
    "{run.dir: {choice: [a, b]}}": "the objective does not depend on it",
    "{losses.backend: {choice: [auto, triton]}}": "the objective does not depend on it",
    "{multitask.epochs: {integer: [1, 9]}}": "not the classifiers that use them",
    "{sweep.trials: {integer: [1, 9]}}": "the objective does not depend on it",
    "{model.latent: {choice: [8], when: 3}}": "when=3",
    "{model.latent: {choice: [8], when: {model.subspaces: 4}}}": "not another key of sweep.space",
    "{model.latent: {choice: [8], when: {model.latent: 8}}}": "not another key of sweep.space",
    "{model.latent: {choice: [8], when: {pairs.walk: 9}}, pairs.walk: {integer: [0, 3]}}": "never comes true",
    "{model.latent: {choice: [8], when: {pairs.pull: 1}}, pairs.pull: {uniform: [0, 3]}}": "never comes true",
    "{model.latent: {choice: [8], when: {pairs.walk: 2}}, pairs.walk: {choice: [2], when: {model.latent: 8}}}": "circle",
}


@pytest.fixture
def space(tmp_path):
    (tmp_path / "config.yaml").write_text(SPACE)
    return parse_space(load_config(tmp_path / "config.yaml"))


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_preset_has_a_space_and_an_objective_without_ground_truth(path):
    config = load_config(path)
    assert len(parse_space(config)) >= 3
    assert config.sweep.trials >= 12
    assert not gives_upper_bound(config, parse_space(config))


def test_space_reads_as_written_with_conditions_after_what_they_depend_on(space):
    assert [one.key for one in space][-1] == "losses.distance.margin"
    assert set(space) == {
        Dimension("losses.schedule.beta1.middle", "uniform", (0.2, 0.7), (), "progress"),
        Dimension("model.subspaces", "integer", (4, 6)),
        Dimension("losses.distance.form", "choice", ("paper", "official")),
        Dimension("losses.distance.margin", "log", (0.01, 1.0), (("losses.distance.form", "official"),)),
    }


def test_drawn_values_lie_in_the_space_and_conditional_ones_appear_exactly_under_their_condition(space):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(60):
        trial = study.ask()
        suggest_values(space, trial)
        drawn.append(trial.params)
    for values in drawn:
        assert 0.2 <= values["losses.schedule.beta1.middle"] <= 0.7
        assert ("losses.distance.margin" in values) == (values["losses.distance.form"] == "official")
        assert get_value(load_config(None, [f"model.subspaces={values['model.subspaces']}"]), "model.subspaces") in (
            4,
            5,
            6,
        )
    assert {values["model.subspaces"] for values in drawn} == {4, 5, 6}
    margins = [values["losses.distance.margin"] for values in drawn if "losses.distance.margin" in values]
    assert 0.2 < sum(margin < 0.1 for margin in margins) / len(margins) < 0.8  # half of a log scale


@pytest.mark.parametrize("text", WRONG)
def test_wrong_space_is_told_in_one_sentence(text):
    with pytest.raises(UserError) as caught:
        parse_space(load_config(None, [f"sweep.space={text}"]))
    assert WRONG[text] in str(caught.value)
    assert "sweep.space" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{model.subspace: {integer: [2, 4]}}", "{model.subspaces: {integer: [1, 4]}}", "{}"])
def test_wrong_space_ends_the_command_with_code_2_before_ray_is_imported(tiny, run_sweep, tmp_path, text):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise SystemExit('ray was imported')")
    config = tmp_path / "config.yaml"
    config.write_text(tiny.read_text().partition("sweep:")[0])
    exit_code, output = run_sweep(
        config, f"sweep.space={text}", f"run.dir={tmp_path}/s", PYTHONPATH=_put_first(tmp_path)
    )
    assert exit_code == 2
    assert output.startswith("detaux: ")
    assert WRONG[text] in output
    assert output.count("\n") == 1
    assert not (tmp_path / "s").exists()


def _put_first(folder):
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
