import pytest

from detaux.config import load_config
from detaux.disentangle import collapse
from detaux.disentangle.collapse import find_collapse, warn_of_collapse
from detaux.disentangle.train import run_disentangle
from detaux.runtime.metrics import read_metrics
from shards.build import build_shards

LINE = {"step": 700, "beta/1": 1.0, "oracle/share": [0.2, 0.78, 0.02, 0.0]}
KEYS = (
    "data.source=digits",
    "data.side=16",
    "pairs.pool=64",
    "model.subspaces=3",
    "model.latent=6",
    "run.threads=1",
    "run.device=cpu",
    "disentangle.warmup.steps=4",
    "disentangle.warmup.batch_size=16",
    "disentangle.main.batch_size=8",
    "disentangle.log_interval=2",
    "disentangle.checkpoint_interval=2",
    "track.wandb=offline",
)


@pytest.mark.parametrize(
    ("share", "alpha", "found"),
    [
        ([0.2, 0.78, 0.02, 0.0], 0, 1),  # 0.975 of the free share
        ([0.2, 0.75, 0.05, 0.0], 0, None),  # 0.9375
        ([0.0, 0.05, 0.95], 0, 2),  # the bound itself
        ([0.96, 0.02, 0.02], 0, None),  # the principal subspace may have them
        ([0.01, 0.2, 0.79], 2, 1),
        ([0.2, 0.8], 0, None),  # a lone free subspace has no choice
        ([1.0, 0.0, 0.0], 0, None),
        ([0.214, 0.211, 0.192, 0.122, 0.261, 0.0], 0, None),  # the digits at their end
    ],
)
def test_collapse_is_one_free_subspace_with_nearly_all_pairs_of_the_free(share, alpha, found):
    assert find_collapse(share, alpha) == found


@pytest.mark.parametrize("change", [{"beta/1": 0.99}, {"oracle/share": None}, {"oracle/share": [0.2, 0.4, 0.4]}])
def test_warning_is_of_a_collapse_after_the_rise_of_beta(change):
    assert "step 700 subspace 1 got at least 95%" in warn_of_collapse(LINE, 0, 500)["warning"]
    assert warn_of_collapse(LINE, 0, 499) == {}
    assert warn_of_collapse(LINE | change, 0, 500) == {}


def test_collapse_is_told_and_alerted_once_in_a_training_that_goes_on(
    tmp_path, monkeypatch, wandb_offline, read_history, caplog
):
    monkeypatch.setattr(collapse, "COLLAPSED_SHARE", 0.5)  # of two free subspaces one always has that
    monkeypatch.setattr(collapse, "LEAST_PAIRS", 1)
    build_shards(load_config(None, KEYS), tmp_path / "shards")
    config, folder = load_config(None, [*KEYS, "disentangle.main.steps=16"]), tmp_path / "disentangle"

    def stop(step, model):
        if step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_disentangle(config, tmp_path / "shards", folder, stop)
    run_disentangle(config, tmp_path / "shards", folder)
    lines = read_metrics(folder)
    (told,) = (line for line in lines if "warning" in line)
    assert told == next(line for line in lines if line["beta/1"] == 1)
    assert caplog.messages.count(told["warning"]) == 1
    records = wandb_offline(tmp_path)
    assert [alert.text for alert in records["alert"]] == [told["warning"]]
    assert [row["step"] for row in read_history(records)] == [line["step"] for line in lines]
