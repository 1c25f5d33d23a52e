import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shards.build
from detaux import __version__, pipeline
from detaux.__main__ import main
from detaux.cli import run_command
from detaux.config import STAGE_SECTIONS
from detaux.config.load import iterate_fields
from detaux.data.schema import Manifest, write_manifest
from detaux.errors import InterruptedRunError, NonFiniteLossError, NothingFoundError
from detaux.runtime.record import hash_inputs, write_record

ROOT = Path(__file__).parents[1]

# Wrong command -> what its one sentence must name. {tmp} is a folder with good.yaml, and a few broken things.
WRONG = {
    "": "COMMAND",
    "discovery": "discovery",
    "run": "CONFIG.yaml",
    "run {tmp}/absent.yaml": "absent.yaml",
    "run {tmp}": "{tmp}",
    "run data.source=digits": "data.source=digits",
    "run {tmp}/good.yaml --fast": "--fast",
    "run {tmp}/good.yaml verbose": "verbose",
    "run {tmp}/good.yaml data.sied=32": "data.side",
    "run {tmp}/good.yaml data.side=seven": "data.side",
    "run {tmp}/good.yaml data.side=7": "from 8 to 512",
    "run {tmp}/good.yaml data=digits": "data is a section",
    "run {tmp}/good.yaml discover.clusterer=dbscan": "hdbscan|kmeans",
    "run {tmp}/good.yaml pairs.walk=1.5": "pairs.walk",
    "run {tmp}/good.yaml disentangle.main.lr=nan": "disentangle.main.lr",
    "run {tmp}/good.yaml disentangle.main.steps=0": "disentangle.main.steps",
    "run {tmp}/good.yaml data.test_fraction=0": "data.test_fraction",
    "run {tmp}/good.yaml multitask.weights=[0.1,-1]": "multitask.weights=-1",
    "run {tmp}/good.yaml multitask.weights=[.nan]": "multitask.weights",
    "run {tmp}/good.yaml multitask.weights=[]": "multitask.weights",
    "run {tmp}/good.yaml multitask.methods=[nddr]": "stl|hard_sharing",
    "run {tmp}/good.yaml multitask.controls=[rotatoin]": "rotation",
    "run {tmp}/good.yaml multitask.backbone=vgg16 data.side=16": "data.side of at least 32",
    "run {tmp}/good.yaml multitask.pretrained={tmp}/none": "{tmp}/none",
    "run {tmp}/good.yaml pairs.reuse=5": "pairs.reuse=5",
    "run {tmp}/good.yaml run.dir={tmp}/good.yaml": "run.dir={tmp}/good.yaml",
    "run {tmp}/typo.yaml": "disentangle.main.steps",
    "run {tmp}/list.yaml": "list.yaml",
    "run {tmp}/broken.yaml": "broken.yaml",
    "run {tmp}/twice.yaml": "seed stands twice",
    "run {tmp}/good.yaml data.source=folder run.dir={tmp}/r": "data.path",
    "run {tmp}/good.yaml data.source=folder data.path={tmp}/none run.dir={tmp}/r": "{tmp}/none",
    "run {tmp}/good.yaml data.source=fashion_mnist data.path={tmp} run.dir={tmp}/r": "{tmp}/train-images",
    "run {tmp}/good.yaml data.source=shapes3d data.principal=colour run.dir={tmp}/r": "colour",
    "run {tmp}/good.yaml data.shards={tmp}/none run.dir={tmp}/r": "{tmp}/none/manifest.json",
    "run {tmp}/good.yaml data.shards=ftp://host/set run.dir={tmp}/r": "http, https, s3, gs, file, pipe",
    "disentangle {tmp}/good.yaml run.dir={tmp}/r": "detaux shards build {tmp}/good.yaml run.dir={tmp}/r --out",
    "discover {tmp}/good.yaml data.shards={tmp}/set run.dir={tmp}/r": "detaux disentangle {tmp}/good.yaml",
    "multitask {tmp}/good.yaml data.shards={tmp}/set run.dir={tmp}/r": "detaux discover {tmp}/good.yaml",
    "shards": "ACTION",
    "shards build digits": "--out",
    "shards build mnist --out {tmp}/x": "mnist",
    "shards build digits --out {tmp}/x data.blocks=3": "data.blocks",
    "shards build digits --out {tmp}/photos": "{tmp}/photos",
    "shards build digits --out {tmp}/good.yaml": "{tmp}/good.yaml",
    "shards build folder --out {tmp}/photos data.path={tmp}/photos": "{tmp}/photos",
    "run {tmp}/good.yaml data.source=folder data.path={tmp}/photos run.dir={tmp}/photos/run": "lies in data.path",
    "run {tmp}/good.yaml multitask.weights=[[1]]": "multitask.weights",
    "run {tmp}/good.yaml multitask.methods=[[stl]]": "multitask.methods",
    "shards verify {tmp}/photos": "{tmp}/photos",
    "shards info {tmp}/cut": "{tmp}/cut/manifest.json",
    "shards repack {tmp}/set --out {tmp}/x": "{tmp}/set",
    "report": "RUN",
    "report {tmp}/none": "{tmp}/none",
    "report {tmp}/photos": "{tmp}/photos/discover/discovery.json",
    "report {tmp}/photos report.examples=0": "report.examples",
    "report report.title=x": "report.title=x",
    "doctor now": "now",
}


def make_manifest(quarantined=()):
    split = {"rule": "random", "test_fraction": 0.2, "validation_fraction": 0.1, "seed": 0}
    return Manifest("digits", "packed", 16, 3, ["even", "odd"], "digit", {}, split, [], list(quarantined))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.yaml").write_text("data: {source: digits}\n")
    (tmp_path / "typo.yaml").write_text("disentangle: {main: {step: 5}}\n")
    (tmp_path / "list.yaml").write_text("- data\n")
    (tmp_path / "broken.yaml").write_text("data: {side: 32\n")
    (tmp_path / "twice.yaml").write_text("run: {seed: 1, seed: 2}\n")
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "set").mkdir()
    write_manifest(tmp_path / "set", make_manifest())
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "manifest.json").write_text('{"version": 1')
    return tmp_path


@pytest.mark.parametrize("command", WRONG)
def test_wrong_command_exits_2_with_one_sentence_that_names_the_fault(command, folder, capsys):
    before = sorted(folder.rglob("*"))
    assert run_command(command.format(tmp=folder).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("detaux: ")
    assert error.endswith((".\n", "`.\n"))
    assert error.count("\n") == 1
    assert WRONG[command].format(tmp=folder) in error
    assert [path for path in sorted(folder.rglob("*")) if path.is_file()] == [path for path in before if path.is_file()]


def test_wrong_commands_are_twenty_or_more():
    assert len(WRONG) >= 20


def test_console_script_gives_the_exit_code_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "detaux", "run", "absent.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "detaux: config file absent.yaml does not exist.\n"


def test_help_and_parsing_import_no_heavy_module():
    heavy = ("torch", "numpy", "sklearn", "matplotlib", "pyarrow", "scipy", "rich", "hdbscan", "joblib")
    code = f"""
import sys
from detaux.cli import run_command
assert run_command(["--help"]) == 0
assert run_command(["run", "absent.yaml"]) == 2
print([name for name in {heavy} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_version_is_the_package_version(capsys):
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"detaux {__version__}\n"


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        *((stage, stage) for stage in ("run", "disentangle", "discover", "multitask", "sweep")),
        ("shards build", "shards"),
    ],
)
def test_help_lists_every_key_of_the_stage(command, stage, capsys):
    assert run_command([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    for dotted, entry, _ in iterate_fields():
        if dotted.split(".")[0] in STAGE_SECTIONS[stage]:
            assert re.search(
                rf"^  {re.escape(dotted)}=.*\n +{re.escape(entry.metadata['meaning'])} \(.+\)$", text, re.M
            )


def test_doctor_names_packages_backends_and_machine(capsys):
    assert run_command(["doctor"]) == 0
    output = capsys.readouterr().out
    for word in ("python", "torch", "deepspeed", "device", "clusterer", "cores", "memory"):
        assert word in output


def test_overrides_may_follow_an_option(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(pipeline, "make_shards", lambda config, folder, following: seen.append((config.data, folder)))
    run_command(["shards", "build", "digits", "data.side=16", "--out", str(tmp_path), "data.noise=0.5"])
    ((data, folder),) = seen
    assert (data.source, data.side, data.noise, folder) == ("digits", 16, 0.5, tmp_path)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (NonFiniteLossError(7, ["distance"], "the learning rate"), 1),
        (NothingFoundError("no task found."), 3),
        (InterruptedRunError(15, "step 40"), 143),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device", "runs/x"), 2),
        (PermissionError(13, "Permission denied", "runs/x"), 2),
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn"), 2),
    ],
)
def test_each_early_end_has_its_exit_code_and_one_sentence(error, exit_code, monkeypatch, folder, capsys):
    def fail(*_):
        raise error

    monkeypatch.setitem(pipeline.RUNNERS, "disentangle", fail)
    arguments = ["disentangle", f"{folder}/good.yaml", f"data.shards={folder}/set", f"run.dir={folder}/r"]
    assert run_command(arguments) == exit_code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), FileNotFoundError(2, "gone", "x"), ModuleNotFoundError()])
def test_a_bug_keeps_its_traceback(error, monkeypatch, folder):
    def fail(*_):
        raise error

    monkeypatch.setitem(pipeline.RUNNERS, "disentangle", fail)
    with pytest.raises(type(error)):
        run_command(["disentangle", f"{folder}/good.yaml", f"data.shards={folder}/set", f"run.dir={folder}/r"])


def test_reader_that_closes_the_pipe_is_no_error():
    command = f"{sys.executable} -m detaux run --help | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 1


@pytest.fixture
def chain(monkeypatch, tmp_path):
    """The chain with stages that only write what the next one reads, and a list of those that ran."""
    ran = []
    outputs = {
        "disentangle": "checkpoint/model.safetensors",
        "discover": "labels.parquet",
        "multitask": "metrics.json",
        "report": "report.html",
    }

    def build(config, folder):
        ran.append("shards")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_manifest(folder, make_manifest([{"file": "cats/7.png", "reason": "truncated"}]))
        write_record(folder, "shards", config, hash_inputs(shards.build.list_inputs(config)), ["manifest.json"], 0.0)

    def make_runner(stage):
        def run(job, folder):
            ran.append(stage)
            path = folder / outputs[stage]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{stage} {job.config.pairs.pull} {job.config.discover.tasks}")
            if stage != "report":
                write_record(folder, stage, job.config, hash_inputs(job.list_inputs(stage)), [outputs[stage]], 0.0)

        return run

    monkeypatch.setattr(shards.build, "build_shards", build)
    for stage in outputs:
        monkeypatch.setitem(pipeline.RUNNERS, stage, make_runner(stage))
    (tmp_path / "photos").mkdir()
    (tmp_path / "good.yaml").write_text(f"data: {{source: folder, path: {tmp_path}/photos}}\n")

    def run(command="run", *overrides):
        ran.clear()
        exit_code = run_command([command, f"{tmp_path}/good.yaml", f"run.dir={tmp_path}/demo", *overrides])
        return exit_code, list(ran)

    return run


ALL = ["shards", "disentangle", "discover", "multitask", "report"]


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
        ("data.window=100", ["disentangle", "report"]),
        ("run.seed=7", ALL[1:]),
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


def test_one_stage_runs_alone_from_files(chain):
    chain()
    assert chain("discover", "discover.tasks=3") == (0, ["discover"])
    assert chain("discover", "discover.tasks=3") == (0, [])


def test_run_that_finds_nothing_reports_and_exits_3(chain, monkeypatch, capsys):
    def find_nothing(job, folder):
        raise NothingFoundError("no task found: one cluster.")

    monkeypatch.setitem(pipeline.RUNNERS, "discover", find_nothing)
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


def test_build_replaces_a_shard_set_and_nothing_else(chain, tmp_path, capsys):
    chain()
    stray = tmp_path / "demo" / "shards" / "notes.txt"
    stray.write_text("mine")
    assert chain("run", "data.split_seed=1")[0] == 2
    assert "notes.txt" in capsys.readouterr().err
    assert stray.read_text() == "mine"


def test_main_returns_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["detaux", "nonsense"])
    assert main() == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_before_training_ends_with_130():
    code = """
import os, signal
from detaux import cli
cli.COMMANDS["doctor"] = lambda parsed: os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(cli.run_command(["doctor"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
