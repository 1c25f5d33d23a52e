import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestCentroid

from detaux.artefacts import MODEL_FILE
from detaux.config import load_config
from detaux.data.augment import to_float
from detaux.data.split import load_split
from detaux.data.stream import SampleStream
from detaux.disentangle.model import load_disentangler
from detaux.disentangle.phases import MainPhase, WarmupPhase
from detaux.disentangle.train import run_disentangle
from detaux.disentangle.trainer import Trainer
from detaux.errors import InterruptedRunError, NonFiniteLossError, UserError
from detaux.runtime.metrics import read_metrics
from shards.build import build_shards

CPU = torch.device("cpu")
KEYS = (
    "data.source=shapes3d",
    "data.principal=floor_hue",
    "data.grid=[3,3,3,3,2,1]",
    "data.side=16",
    "data.block_samples=16",
    "data.shard_samples=64",
    "data.window=40",
    "pairs.pool=64",
    "pairs.walk_interval=7",
    "model.subspaces=4",
    "model.latent=10",
    "run.threads=1",
    "disentangle.warmup.steps=40",
    "disentangle.warmup.batch_size=16",
    "disentangle.main.steps=60",
    "disentangle.main.batch_size=8",
    "disentangle.main.ramp_steps=10",
    "disentangle.log_interval=10",
    "disentangle.checkpoint_interval=5",
)


@pytest.fixture(scope="module")
def config():
    return load_config(None, KEYS)


@pytest.fixture(scope="module")
def run(tmp_path_factory, config):
    """Shards of a small grid, and a disentangler trained without interruption on those of the training split, the others
    being gone."""
    root = tmp_path_factory.mktemp("run")
    build_shards(config, root / "shards")
    shutil.copytree(root / "shards", root / "train", ignore=shutil.ignore_patterns("validation-*", "test-*"))
    run_disentangle(config, root / "train", root / "disentangle")
    return root


@pytest.fixture(scope="module")
def model(run):
    return load_disentangler(run / "disentangle", CPU)


@pytest.fixture(scope="module")
def splits(run, config):
    return {name: load_split(run / "shards", name, config.data, CPU) for name in ("train", "test")}


def build_trainer(shards, config, *, is_main):
    stream = SampleStream(shards, "train", config.data, seed=config.run.seed, device=CPU)
    return Trainer(config, config.data.side, (MainPhase if is_main else WarmupPhase)(config, stream, CPU))


@pytest.fixture(scope="module")
def trainer(run, config):
    """That of the main phase, before its first step."""
    return build_trainer(run / "shards", config, is_main=True)


def read_curve(folder):
    return [
        {key: value for key, value in line.items() if key.startswith(("loss/", "beta/", "oracle/", "pairs/"))}
        for line in read_metrics(folder)
    ]


def assert_same_weights(one, two):
    first, second = load_file(one / MODEL_FILE), load_file(two / MODEL_FILE)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def start(fork_server):
    """start(run, folder, key=value, ...): the command a user types, in a process of its own, on the module's shards."""

    def start(root, folder, *keys):
        config = folder / "config.yaml"
        config.write_text("{}")
        command = ["-m", "detaux", "disentangle", config, *KEYS, f"data.shards={root / 'shards'}"]
        return fork_server.start([*command, f"run.dir={folder}", *keys])

    return start


def wait_for_steps(folder, steps, process):
    """Return once a checkpoint of at least `steps` steps is there."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        found = [int(path.name[5:]) for path in (folder / "disentangle" / "checkpoint").glob("step-*")]
        if max(found, default=0) >= steps:
            return
        time.sleep(0.002)
    pytest.fail(f"no checkpoint of {steps} steps: {process.communicate()[0]}")


def test_killed_run_ends_with_the_weights_of_an_uninterrupted_one(run, start, tmp_path):
    draw = random.Random(0)
    for steps, workers in zip(sorted(draw.sample(range(5, 95), 3)), (0, 1, 2), strict=True):
        process = start(run, tmp_path, f"data.workers={workers}", "data.cache=none" if workers else "data.cache=auto")
        wait_for_steps(tmp_path, steps, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "disentangle" / "record.json").exists()
    process = start(run, tmp_path, "data.workers=1")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "continues from step" in output
    assert_same_weights(run / "disentangle", tmp_path / "disentangle")


CONDITIONAL = ("model.conditional=true", "data.labelled_fraction=0.7", "disentangle.keep_checkpoints=99")


def test_conditional_run_stopped_before_its_projectors_start_ends_with_the_same_weights(run, tmp_path):
    config = load_config(None, [*KEYS, *CONDITIONAL])
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_disentangle(config, run / "train", whole)
    shutil.copytree(whole, stopped)
    (stopped / "record.json").unlink()
    for path in (stopped / "checkpoint").glob("step-*"):
        if int(path.name[5:]) > config.disentangle.warmup.steps:
            shutil.rmtree(path)
    run_disentangle(config, run / "train", stopped)
    assert_same_weights(whole, stopped)


def test_two_ranks_start_the_projectors_of_a_conditional_run_as_one_does(run, tmp_path, start_ranks, start):
    keys = (*CONDITIONAL, "disentangle.main.steps=20", "disentangle.main.lr=1e-5")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    ranks = [*start_two(start_ranks, run, tmp_path / "two", *keys), start(run, tmp_path / "one", *keys)]
    for process in ranks:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    one, two = (read_curve(tmp_path / name / "disentangle") for name in ("one", "two"))
    assert any("loss/divergence" in line for line in one)
    for line, expected in zip(two, one, strict=True):
        for name, value in expected.items():
            assert line[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_free_subspaces_of_a_conditional_run_start_without_the_label_and_add_up_to_the_code(run, splits, tmp_path):
    config = load_config(
        None, [*KEYS, "model.conditional=true", "disentangle.warmup.steps=300", "disentangle.main.steps=0"]
    )
    run_disentangle(config, run / "train", tmp_path)
    model, split = load_disentangler(tmp_path, CPU), splits["train"]
    with torch.no_grad():
        codes = model.encode(to_float(split.images))
        subspaces = model.project(codes)
        plain, whole = (model.decode(code) for code in (codes, subspaces.sum(1)))
    assert (plain - whole).square().mean() < 1e-4  # only dimensions without use are left out
    labels = split.labels.numpy()
    scores = [
        NearestCentroid().fit(points, labels).score(points, labels)
        for points in (subspaces[:, 0].numpy(), subspaces[:, 1:].sum(1).numpy())
    ]
    assert scores[0] > 0.95
    assert scores[1] < 0.6  # of three classes


def test_terminated_run_checkpoints_and_exits_with_the_signal(run, start, tmp_path):
    process = start(run, tmp_path, "disentangle.main.steps=2000000")
    wait_for_steps(tmp_path, 45, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command continues" in output
    assert "Traceback" not in output


def start_two(start_ranks, root, folder, *keys):
    """The same command as `start`, as two ranks."""
    config = folder / "config.yaml"
    config.write_text("{}")
    arguments = ["-m", "detaux", "disentangle", config, *KEYS, f"data.shards={root / 'shards'}", f"run.dir={folder}"]
    return start_ranks(2, *arguments, *keys)


def test_killed_rank_ends_both_and_the_same_command_goes_on_to_the_same_losses(run, tmp_path, start_ranks):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    # a line is a mean over the steps since the last one, so that a line for each checkpoint is the same from either start
    fewer = ("disentangle.warmup.steps=10", "disentangle.main.steps=40", "disentangle.log_interval=5")
    outputs = [rank.communicate(timeout=120)[0] for rank in start_two(start_ranks, run, tmp_path / "whole", *fewer)]
    assert "disentangle: wrote" in outputs[0], outputs
    assert outputs[1] == ""

    killed = tmp_path / "killed"
    first, second = start_two(start_ranks, run, killed, *fewer)
    wait_for_steps(killed, 15, first)
    second.send_signal(signal.SIGKILL)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 75, output
    assert "rank 1 on " in output
    assert "Traceback" not in output
    first, second = start_two(start_ranks, run, killed, *fewer)
    output, _ = first.communicate(timeout=120)
    assert (first.returncode, second.wait(timeout=60)) == (0, 0), output
    assert "continues from step" in output
    curve, whole = (read_curve(folder / "disentangle") for folder in (killed, tmp_path / "whole"))
    assert len(whole) == 10
    for line, expected in zip(curve, whole, strict=True):
        assert line.keys() == expected.keys()
        for name, value in expected.items():
            assert line[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.slow
def test_terminated_launcher_leaves_a_checkpoint(run, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", "-m", "detaux", "disentangle", str(config), *KEYS]
    command += [f"data.shards={run / 'shards'}", f"run.dir={tmp_path}", "disentangle.main.steps=2000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_steps(tmp_path, 45, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1  # torchrun's own, whatever its ranks return
    (stop,) = re.findall(r"detaux: stopped by signal 15 after step (\d+) of disentangle main", output)
    assert (tmp_path / "disentangle" / "checkpoint" / f"step-{40 + int(stop):08d}").is_dir()


def test_batch_that_does_not_divide_over_the_ranks_is_refused_once(run, tmp_path, start_ranks):
    ranks = start_two(start_ranks, run, tmp_path, "disentangle.main.batch_size=9")
    outputs = [rank.communicate(timeout=60)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert outputs[0].splitlines()[-1] == (
        "detaux: disentangle.main.batch_size=9 with pairs.reuse=1 does not divide into 2 equal parts, one for each rank and "
        "micro-batch."
    )
    assert outputs[1] == ""


@pytest.mark.parametrize(("workers", "cache"), [(2, "auto"), (0, "none"), (2, "none")])
def test_loss_curve_does_not_depend_on_workers_or_cache(run, tmp_path, workers, cache):
    config = load_config(None, [*KEYS, f"data.workers={workers}", f"data.cache={cache}"])
    run_disentangle(config, run / "shards", tmp_path)
    assert read_curve(tmp_path) == read_curve(run / "disentangle")
    assert_same_weights(tmp_path, run / "disentangle")


def test_metrics_name_every_part_of_the_contract(run):
    lines = read_metrics(run / "disentangle")
    assert [line["step"] for line in lines] == list(range(10, 101, 10))
    assert [line["phase"] for line in lines] == ["warmup"] * 4 + ["main"] * 6
    expected = {"loss/total", "loss/distance", "loss/sparsity", "loss/consistency", "loss/principal_contrast"}
    expected |= {"beta/1", "beta/2", "beta/3", "lr", "grad_norm", "oracle/share", "pairs/one_factor_share", "progress"}
    expected |= {"samples_per_second", "data_wait_share", "pairs/different_share", "seconds"}
    assert expected <= lines[-1].keys()
    assert lines[-1]["progress"] == 1.0
    assert abs(sum(lines[-1]["oracle/share"]) - 1) < 1e-6


def test_training_lowers_reconstruction_error(run):
    lines = read_metrics(run / "disentangle")
    assert lines[3]["loss/reconstruction"] < lines[0]["loss/reconstruction"] / 2


def test_training_reads_the_tars_of_the_training_split_alone(run):
    assert {path.name.split("-")[0] for path in run.glob("train/*.tar")} == {"train"}
    assert (run / "disentangle" / "record.json").is_file()


@torch.no_grad()
def test_training_separates_the_principal_classes_of_images_it_never_saw(model, splits):
    """By scikit-learn: the class whose mean is nearest, and how far the classes lie apart in the principal subspace."""
    train, test = (model.project(model.encode(to_float(split.images)))[:, 0].numpy() for split in splits.values())
    nearest = NearestCentroid().fit(train, splits["train"].labels)
    assert nearest.score(test, splits["test"].labels) > 0.95  # by chance 1/3
    assert silhouette_score(test, splits["test"].labels) > 0.8


@torch.no_grad()
def test_training_reconstructs_images_it_never_saw_better_than_their_mean(model, splits):
    train, test = (to_float(split.images) for split in splits.values())
    assert (model(test)[1] - test).square().mean() < 0.75 * (train.mean(0) - test).square().mean()


def test_warmup_shows_no_image_twice_in_an_epoch(run, config):
    warmup = build_trainer(run / "shards", config, is_main=False)
    images = torch.cat([warmup.make_batch(step).arguments[0] for step in range(6)])
    assert len(images.unique(dim=0)) == 6 * 16  # of 108


def test_labels_of_a_step_are_those_of_its_images(trainer, splits):
    split = splits["train"]
    label_of = {image.numpy().tobytes(): label for image, label in zip(split.images, split.labels, strict=True)}
    images, labels, *_ = trainer.make_batch(0).arguments
    bytes_ = images.mul(255).round().byte().permute(0, 2, 3, 1).contiguous()
    assert [label_of[image.numpy().tobytes()] for image in bytes_] == labels.tolist()


def test_oracle_gives_edges_within_a_class_to_subspaces_other_than_the_principal_one(trainer):
    trainer.phase.reader.read(trainer.model)
    graph = trainer.phase.pairs.graph
    assert set(graph.subspaces[graph.neighbours >= 0].tolist()) <= {1, 2, 3}


def test_trained_model_loads_with_the_sides_it_was_trained_for(model):
    subspaces, images = model(torch.rand(2, 3, 16, 16))
    assert subspaces.shape == (2, 4, 10)
    assert images.shape == (2, 3, 16, 16)


def test_model_of_another_version_is_refused_in_a_sentence(run, tmp_path):
    folder = tmp_path / "disentangle"
    shutil.copytree(run / "disentangle", folder)
    weights = load_file(folder / MODEL_FILE)
    save_file({name.replace("projectors", "heads"): value for name, value in weights.items()}, folder / MODEL_FILE)
    with pytest.raises(
        UserError, match=r"model\.safetensors does not fit this version of Detaux and this config: delete"
    ):
        load_disentangler(folder, CPU)


def test_noise_and_mixes_of_every_seed_phase_and_step_are_others_and_come_again(run, config):
    """With data.noise=1 no pixel is left: the images of a batch are its noise."""
    noisy = replace(config, data=replace(config.data, noise=1.0), pairs=replace(config.pairs, partner="label"))

    def draw(seed, is_main):
        seeded = replace(noisy, run=replace(config.run, seed=seed))
        drawn, of_phase = [], build_trainer(run / "shards", seeded, is_main=is_main)
        for step in range(3):
            noise, *rest = of_phase.make_batch(step).arguments
            drawn.append(noise.numpy().tobytes())
            drawn += [torch.stack(mixes.tensors).numpy().tobytes() for mixes in rest[-1:]]  # in the main phase
        return drawn

    drawn = [draw(seed, is_main) for seed in (0, 1) for is_main in (False, True)]
    assert draw(0, True) == drawn[1]
    assert len({one for part in drawn for one in part}) == 2 * (3 + 6)


def test_changed_config_starts_afresh(run, tmp_path):
    shutil.copytree(run / "disentangle", tmp_path / "disentangle")
    config = load_config(None, [*KEYS, "run.seed=1", "disentangle.warmup.steps=10", "disentangle.main.steps=1"])
    run_disentangle(config, run / "shards", tmp_path / "disentangle")
    assert [line["step"] for line in read_metrics(tmp_path / "disentangle")] == [10, 11]


def test_non_finite_loss_stops_with_step_and_terms(run, tmp_path):
    config = load_config(
        None, [*KEYS, "disentangle.main.lr=1e30", "disentangle.clip=0", "disentangle.main.ramp_steps=0"]
    )
    with pytest.raises(NonFiniteLossError, match=r"step .*\(total") as caught:
        run_disentangle(config, run / "shards", tmp_path)
    assert "what was saved before it is intact" in str(caught.value)
    assert not isinstance(caught.value, InterruptedRunError)
