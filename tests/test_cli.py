import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from detaux import __version__, pipeline
from detaux.__main__ import main
from detaux.cli import run_command
from detaux.config.load import iterate_fields
from detaux.config.schema import DataConfig
from detaux.data.schema import Manifest, write_manifest
from detaux.errors import InterruptedRunError, NonFiniteLossError, NothingFoundError, UnforeseenError
from detaux.stages import COMMANDS

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
    "run {tmp}/good.yaml disentangle.main.steps=-1": "disentangle.main.steps",
    "run {tmp}/good.yaml data.test_fraction=0": "data.test_fraction",
    "run {tmp}/good.yaml multitask.weights=[0.1,-1]": "multitask.weights=-1",
    "run {tmp}/good.yaml multitask.weights=[.nan]": "multitask.weights",
    "run {tmp}/good.yaml multitask.weights=[]": "multitask.weights",
    "run {tmp}/good.yaml multitask.methods=[cross_stitch]": "stl|stl_long|balanced|hard_sharing|nddr|mti|maxl",
    "run {tmp}/good.yaml multitask.controls=[rotatoin]": "rotation",
    "run {tmp}/good.yaml multitask.backbone=vgg16 data.side=16": "data.side of at least 32",
    "run {tmp}/good.yaml multitask.pretrained={tmp}/none": "{tmp}/none",
    "run {tmp}/good.yaml pairs.reuse=5": "pairs.reuse=5",
    "run {tmp}/good.yaml run.dir={tmp}/good.yaml": "run.dir={tmp}/good.yaml",
    "run {tmp}/good.yaml run.dir=~nobody-of-this-name/r": "~nobody-of-this-name names no home folder",
    "run {tmp}/good.yaml data.path=~nobody-of-this-name/x run.dir={tmp}/r": "data.path=~nobody-of-this-name/x",
    "run {tmp}/good.yaml data.shards=~nobody-of-this-name/x": "data.shards=~nobody-of-this-name/x",
    "run {tmp}/good.yaml multitask.pretrained=~nobody-of-this-name/x": "multitask.pretrained=~nobody-of-this-name/x",
    "run {tmp}/d.yaml": "config file {tmp}/d.yaml is a folder",
    "run --safe {tmp}/good.yaml data.path=${{oc.env:HOME}}": "which --safe refuses",
    "run --safe {tmp}/good.yaml data.shards=pipe:x{{name}}": "would start a command, which --safe refuses",
    "sweep --safe {tmp}/pipe.yaml": "would start a command, which --safe refuses",
    "shards build --safe {tmp}/pipe.yaml --out {tmp}/x": "would start a command, which --safe refuses",
    "launch --safe --dry-run slurm {tmp}/pipe.yaml": "would start a command, which --safe refuses",
    "run {tmp}/good.yaml data.path=${{oc.env:DETAUX_UNSET}}": "Environment variable 'DETAUX_UNSET' not found",
    "run {tmp}/good.yaml data.source=webdataset data.path={tmp}/a{{b.tar run.dir={tmp}/r": "its braces {{}} are not a valid",
    "run {tmp}/good.yaml data.source=webdataset data.path={tmp}/a[1].tar run.dir={tmp}/r": "names no tar file",
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
    "run {tmp}/good.yaml data.source=folder data.path={tmp}/photos run.dir={tmp}/photos/run": "is in data.path",
    "run {tmp}/good.yaml data.source=svhn data.path={tmp}/photos run.dir={tmp}/photos/run": "is in data.path",
    "run {tmp}/good.yaml data.source=cifar10 data.path={tmp}/photos run.dir={tmp}/r": "lacks data_batch_1.bin",
    "run {tmp}/good.yaml data.source=svhn data.path={tmp}/photos run.dir={tmp}/r": "{tmp}/photos/train_32x32.mat",
    "run {tmp}/good.yaml data.source=cars data.path={tmp}/photos run.dir={tmp}/r": "devkit/cars_meta.mat",
    "run {tmp}/good.yaml data.source=faces data.path={tmp}/photos run.dir={tmp}/r": "004_o_m_a_a.jpg",
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


def make_manifest(quarantined=(), data=None):
    data = data or DataConfig()
    split = {"rule": "random", "seed": data.split_seed, "labelled_fraction": data.labelled_fraction}
    return Manifest("digits", "packed", 16, 3, ["even", "odd"], "digit", {}, split, [], list(quarantined))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.yaml").write_text("data: {source: digits}\n")
    (tmp_path / "typo.yaml").write_text("disentangle: {main: {step: 5}}\n")
    (tmp_path / "pipe.yaml").write_text("data: {shards: 'pipe:cat {name}'}\n")
    (tmp_path / "d.yaml").mkdir()
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
    heavy = ("torch", "numpy", "sklearn", "matplotlib", "pyarrow", "scipy", "rich", "hdbscan", "joblib", "numba")
    code = f"""
import sys
from detaux.cli import run_command
assert run_command(["--help"]) == 0
assert run_command(["run", "absent.yaml"]) == 2
print([name for name in {heavy} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_commands_that_only_print_import_no_torch(folder, write_splits, make_split):
    """`detaux watch` and `detaux report` have tests of their own, beside their runs."""
    write_splits(folder / "sound", *(make_split(8) for _ in range(3)))
    good = folder / "good.yaml"
    printing = ["--version", f"shards info {folder / 'sound'}", f"launch --dry-run slurm {good}"]
    printing += [f"{name} --help" for name in ("run", "shards build", "report", "cluster")]
    wrong = [f"{stage} {good} data.sied=32" for stage in ("run", "discover", "sweep")]
    wrong += [
        f"sweep {good} sweep.space={{absent.key:[1]}}",
        f"shards info {folder / 'cut'}",
        f"report {folder / 'none'}",
    ]
    code = f"""
import sys
from detaux.cli import run_command
assert [run_command(command.split()) for command in {printing}] == [0] * {len(printing)}
assert [run_command(command.split()) for command in {wrong}] == [2] * {len(wrong)}
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


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
        if dotted.split(".")[0] in COMMANDS[stage].sections:
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
        (OSError(27, "File too large", "runs/x"), 2),
        (OSError(36, "File name too long", "x" * 300), 2),
        (OSError(24, "Too many open files"), 2),
        (MemoryError("Unable to allocate 3 TiB"), 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2),
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn"), 2),
        (UnforeseenError("rank 1 failed."), 70),
    ],
)
def test_each_early_end_has_its_exit_code_and_one_sentence(error, exit_code, monkeypatch, folder, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(pipeline, "call_runner", fail)
    arguments = ["disentangle", f"{folder}/good.yaml", f"data.shards={folder}/set", f"run.dir={folder}/r"]
    assert run_command(arguments) == exit_code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), FileNotFoundError(2, "gone", "x"), ModuleNotFoundError()])
def test_error_that_nobody_foresaw_is_one_sentence_and_its_traceback_a_file_of_the_run(
    error, monkeypatch, folder, capsys
):
    def fail(*_):
        raise error

    monkeypatch.setattr(pipeline, "call_runner", fail)
    arguments = ["disentangle", f"{folder}/good.yaml", f"data.shards={folder}/set", f"run.dir={folder}/r"]
    (folder / "r" / "shards").mkdir(parents=True)
    assert run_command(arguments) == 70
    sentence = capsys.readouterr().err
    assert sentence.startswith(f"detaux: an unforeseen error ({type(error).__name__}")
    assert sentence.count("\n") == 1
    (path,) = (folder / "r").glob("error-*.txt")
    assert str(path) in sentence
    assert path.read_text().rstrip().splitlines()[-1].startswith(type(error).__name__)


def test_reader_that_closes_the_pipe_is_no_error():
    command = f"{sys.executable} -m detaux run --help | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 1


def test_main_returns_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["detaux", "nonsense"])
    assert main() == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt_before_training_ends_with_130():
    code = """
import os, signal
from detaux import cli
cli.HANDLERS["doctor"] = lambda parsed: os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(cli.run_command(["doctor"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
