"""Files that `detaux launch --dry-run` prints: shells read them, a schema holds for them, and each starts the same program."""

import importlib.metadata
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from detaux.arguments import parse_arguments
from detaux.cli import run_command
from detaux.config import load_config, shipped
from detaux.errors import UserError
from detaux.launch import PLACES, TARGETS, Launch, find_template, render_launch

ROOT = Path(__file__).parents[1]
CONFIG = "configs/paper/shapes3d.yaml"
KEYS = ["run.dir=/shared/runs/a b's", "multitask.weights=[0.1,0.3]"]
KEYS += [f"disentangle.{phase}.batch_size=512" for phase in ("warmup", "main")]  # of 64 nodes of 8 GPUs
NODES = (pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(64, marks=pytest.mark.slow))
GPUS = 8
SHELL = [target for target, name in TARGETS.items() if not name.endswith(".yaml")]
KUBERNETES = [target for target in TARGETS if target not in SHELL]


def of(**properties):
    """The schema of an object that has all of these properties, and no others but those named after `_`."""
    required = [name for name in properties if not name.startswith("_")]
    both = {name.removeprefix("_"): schema for name, schema in properties.items()}
    return {"type": "object", "properties": both, "required": required, "additionalProperties": False}


# The parts of the published definitions that our files use: KubeRay's ray.io/v1, Kubeflow Trainer's v1alpha1, Kubernetes' pods
TEXT, BOOLEAN = {"type": "string", "minLength": 1}, {"type": "boolean"}
COUNT, AT_LEAST_ONE = {"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": ["integer", "string"], "pattern": r"^\d+(m|Ki|Mi|Gi|Ti)?$"},
}
RESOURCES = of(limits=QUANTITIES, _requests=QUANTITIES)
MOUNTS = {"type": "array", "minItems": 1, "items": of(name=TEXT, mountPath=TEXT)}
CLAIM, MEMORY = of(claimName=TEXT), of(medium={"const": "Memory"})
VOLUMES = {"type": "array", "items": of(name=TEXT, _persistentVolumeClaim=CLAIM, _emptyDir=MEMORY)}
CONTAINERS = {
    "type": "array",
    "minItems": 1,
    "items": of(name=TEXT, _image=TEXT, _resources=RESOURCES, volumeMounts=MOUNTS),
}
SECURITY = of(fsGroup=COUNT)
POD = of(
    containers=CONTAINERS,
    volumes=VOLUMES,
    securityContext=SECURITY,
    _restartPolicy={"enum": ["Always", "OnFailure", "Never"]},
)
HEAD = of(rayStartParams=STRINGS, template=of(spec=POD))
WORKERS = of(
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=STRINGS,
    template=of(spec=POD),
)
CLUSTER = of(headGroupSpec=HEAD, workerGroupSpecs={"type": "array", "minItems": 1, "items": WORKERS})
RAY_JOB = of(
    entrypoint=TEXT,
    rayClusterSpec=CLUSTER,
    _backoffLimit=COUNT,
    _shutdownAfterJobFinishes=BOOLEAN,
    _ttlSecondsAfterFinished=COUNT,
)
WORDS = {"type": "array", "minItems": 1, "items": {"type": "string"}}
TRAINER = of(image=TEXT, command=WORDS, args=WORDS, numNodes=AT_LEAST_ONE, resourcesPerNode=RESOURCES)
POD_TEMPLATE = of(spec=of(template=of(spec=POD)))
PATCHED_JOB = of(name={"const": "node"}, template=POD_TEMPLATE)
JOB_SET = of(spec=of(replicatedJobs={"type": "array", "minItems": 1, "items": PATCHED_JOB}))
PATCH = of(manager=TEXT, trainingRuntimeSpec=of(template=JOB_SET))
TRAIN_JOB = of(
    runtimeRef=of(name={"const": "torch-distributed"}),
    trainer=TRAINER,
    runtimePatches={"type": "array", "items": PATCH},
)
METADATA = {"oneOf": [of(name=TEXT), of(generateName=TEXT)]}


def describe_kind(version, name, spec):
    return of(apiVersion={"const": version}, kind={"const": name}, metadata=METADATA, spec=spec)


SCHEMAS = {
    "kuberay": describe_kind("ray.io/v1", "RayJob", RAY_JOB),
    "raycluster": describe_kind("ray.io/v1", "RayCluster", CLUSTER),
    "trainjob": describe_kind("trainer.kubeflow.org/v1alpha1", "TrainJob", TRAIN_JOB),
}
# Wrong arguments of `detaux launch` -> what its one sentence must name
WRONG = {
    f"--dry-run lsf {CONFIG}": "slurm kuberay raycluster trainjob torchrun deepspeed",
    "--dry-run slurm": "CONFIG.yaml",
    "--dry-run slurm absent.yaml": "absent.yaml",
    f"--dry-run slurm {CONFIG} nodes=0": "nodes=0",
    f"--dry-run slurm {CONFIG} gpus=abc": "gpus=abc",
    f"--dry-run trainjob {CONFIG} gpus=-1": "gpus=-1",
    f"--dry-run torchrun {CONFIG} nodes=": "nodes=",
    f"--dry-run kuberay {CONFIG} node=4": "node",
    f"--dry-run kuberay {CONFIG} data.sied=32": "data.side",
    f"--dry-run kuberay {CONFIG} run.seed={{task}}": "run.seed",
    f"--dry-run deepspeed {CONFIG} pairs.reuse=5": "pairs.reuse=5",
    f"--dry-run slurm {CONFIG} 'run.dir=a\nb'": "line break",
    f"slurm {CONFIG} nodes=4": "--dry-run",
    f"torchrun {CONFIG} nodes=2": "--dry-run",
}


@pytest.fixture
def render(monkeypatch, capsys):
    """render(target, nodes): what the command prints."""
    monkeypatch.chdir(ROOT)

    def render(target, nodes=4, keys=KEYS):
        assert run_command(["launch", "--dry-run", target, CONFIG, f"nodes={nodes}", f"gpus={GPUS}", *keys]) == 0
        output = capsys.readouterr()
        assert output.err == ""
        return output.out

    return render


@pytest.fixture
def execute(tmp_path):
    """execute(text): the words of the command that a rendered script ends in, after the launcher's own name, one a line."""
    show = 'printf "%s\\n" "$@" > "$(dirname "$0")/words"'
    stands = {
        "python": show,
        "deepspeed": f'{show}; cp "$2" "$(dirname "$0")/hostfile"',
        "scontrol": "echo node0",
        "srun": 'while [[ $1 == --* ]]; do shift; done\nSLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 exec "$@"',
    }
    for name, text in stands.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def execute(text, *arguments, **variables):
        (tmp_path / "job").write_text(text)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node0"}
        command = ["bash", "job", *arguments]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment | variables, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return (tmp_path / "words").read_text().splitlines()

    return execute


def check_program(words, keys=KEYS):
    """Assert that `detaux WORDS` trains on CONFIG with the keys, by detaux's own parser."""
    parsed = parse_arguments(words)
    assert (parsed.command, parsed.config) == ("disentangle", CONFIG)
    assert load_config(ROOT / CONFIG, parsed.overrides) == load_config(ROOT / CONFIG, keys)


def parse_torchrun(words, monkeypatch, **variables):
    """What torchrun's own parser makes of the words after its name."""
    from torch.distributed.run import parse_args

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    parsed = parse_args(words)
    assert (parsed.module, parsed.training_script) == (True, "detaux")
    return parsed


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("target", SHELL)
def test_rendered_script_is_read_by_bash(render, target, nodes):
    text = render(target, nodes)
    result = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("target", SHELL)
def test_rendered_script_pleases_shellcheck(render, target, nodes):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    for text in (render(target, nodes), find_template(TARGETS[target]).read_text()):
        command = [shellcheck, "--shell", "bash", "-"]
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("target", KUBERNETES)
def test_rendered_manifest_fits_the_published_schema(render, target, nodes):
    manifest = yaml.safe_load(render(target, nodes))
    assert [error.message for error in Draft202012Validator(SCHEMAS[target]).iter_errors(manifest)] == []


@pytest.mark.parametrize("target", KUBERNETES)
def test_template_of_kubernetes_fits_the_schema_as_it_stands(target):
    manifest = yaml.safe_load(find_template(TARGETS[target]).read_text())
    assert list(Draft202012Validator(SCHEMAS[target]).iter_errors(manifest)) == []


@pytest.mark.parametrize(
    ("target", "break_it"),
    [
        ("kuberay", lambda spec: spec["rayClusterSpec"].pop("headGroupSpec")),
        ("kuberay", lambda spec: spec.update(entryPoint=spec.pop("entrypoint"))),
        ("raycluster", lambda spec: spec["workerGroupSpecs"][0].update(replicas="4")),
        ("raycluster", lambda spec: spec["headGroupSpec"]["template"]["spec"].update(restartPolicy="never")),
        ("trainjob", lambda spec: spec["trainer"].update(numNodes=0)),
        ("trainjob", lambda spec: spec.pop("runtimeRef")),
        ("trainjob", lambda spec: spec["trainer"]["resourcesPerNode"].update(limits={"nvidia.com/gpu": "eight"})),
    ],
)
def test_schema_refuses_a_broken_manifest(render, target, break_it):
    manifest = yaml.safe_load(render(target))
    break_it(manifest["spec"])
    assert list(Draft202012Validator(SCHEMAS[target]).iter_errors(manifest))


@pytest.mark.parametrize("nodes", NODES)
def test_slurm_job_asks_for_a_task_on_each_gpu_and_runs_the_program(render, execute, nodes):
    text = render("slurm", nodes)
    options = dict(
        line.split()[1].split("=") for line in text.splitlines() if line.startswith("#SBATCH --") and "=" in line
    )
    counts = [options[f"--{name}"] for name in ("nodes", "gpus-per-node", "ntasks-per-node")]
    assert counts == [str(nodes), str(GPUS), str(GPUS)]
    words = execute(text)
    assert words[:2] == ["-m", "detaux"]
    check_program(words[2:])


def test_slurm_array_counts_in_what_was_rendered_and_in_what_is_added(render, execute):
    text = render("slurm", 1, ["run.seed={task}", "disentangle.main.batch_size=8"])
    words = execute(text, "run.dir=runs/seed-{task}/{task}", SLURM_ARRAY_TASK_ID="3")
    check_program(words[2:], ["run.seed=3", "disentangle.main.batch_size=8", "run.dir=runs/seed-3/3"])


@pytest.mark.parametrize("nodes", NODES)
def test_torchrun_script_starts_the_program_on_all_ranks(render, execute, monkeypatch, nodes):
    words = execute(render("torchrun", nodes), HEAD="node0:29400")
    assert words[:2] == ["-m", "torch.distributed.run"]
    parsed = parse_torchrun(words[2:], monkeypatch)
    assert (parsed.nnodes, parsed.nproc_per_node) == (str(nodes), str(GPUS))
    check_program(parsed.training_script_args)


def test_torchrun_script_for_several_machines_asks_for_their_head(render):
    command = ["bash", "-c", render("torchrun", 4)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "NNODES=4 needs HEAD" in result.stderr


@pytest.mark.parametrize("nodes", NODES)
def test_deepspeed_script_names_its_hosts_and_runs_the_program(render, execute, tmp_path, nodes):
    runner = pytest.importorskip("deepspeed.launcher.runner")
    parsed = runner.parse_args(execute(render("deepspeed", nodes)))
    hosts = runner.fetch_hostfile(str(tmp_path / "hostfile"))
    assert list(hosts) == (["localhost"] if nodes == 1 else [f"node{index}" for index in range(nodes)])
    assert set(hosts.values()) == {GPUS}
    assert (parsed.module, parsed.user_script) == (True, "detaux")
    check_program(parsed.user_args, [*KEYS, "engine.name=deepspeed"])


@pytest.mark.parametrize("nodes", NODES)
def test_ray_manifests_ask_for_a_gpu_a_worker_and_run_the_program(render, monkeypatch, nodes):
    job, text = yaml.safe_load(render("kuberay", nodes))["spec"], render("raycluster", nodes)
    submitted = text.partition("ray job submit")[2].partition(" -- \\\n# ")[2].partition("\n")[0]
    assert shlex.split(submitted) == shlex.split(job["entrypoint"])
    assert job["rayClusterSpec"] == yaml.safe_load(text)["spec"]
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert [workers[name] for name in ("replicas", "minReplicas", "maxReplicas")] == [nodes] * 3
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == GPUS

    seen = {}  # by launch/ray_train.py itself, without a Ray
    modules = {name: types.ModuleType(name) for name in ("ray", "ray.train", "ray.train.torch")}
    for module, names in (("ray.train", ("RunConfig", "ScalingConfig")), ("ray.train.torch", ("TorchConfig",))):
        for name in names:
            setattr(modules[module], name, dict)

    def fit(run_stage, **settings):
        seen.update(settings)
        return types.SimpleNamespace(fit=lambda: types.SimpleNamespace(error=None))

    modules["ray.train.torch"].TorchTrainer = fit
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    program, script, *words = shlex.split(job["entrypoint"])
    assert program == "python"
    monkeypatch.setattr(sys, "argv", [script, *words])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert seen["scaling_config"] == {"num_workers": nodes * GPUS, "use_gpu": True}
    check_program(seen["train_loop_config"]["command"])


@pytest.mark.parametrize("nodes", NODES)
def test_train_job_starts_the_program_where_its_runtime_says(render, monkeypatch, nodes):
    trainer = yaml.safe_load(render("trainjob", nodes))["spec"]["trainer"]
    assert trainer["numNodes"] == nodes
    assert trainer["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": GPUS}
    words = trainer["command"] + trainer["args"]
    assert words[2:5] == ["python", "-m", "torch.distributed.run"]
    parsed = parse_torchrun(
        words[5:], monkeypatch, PET_NNODES=str(nodes), PET_NPROC_PER_NODE=str(GPUS), PET_NODE_RANK="0"
    )
    assert (parsed.nnodes, parsed.nproc_per_node) == (str(nodes), str(GPUS))
    check_program(parsed.training_script_args)


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_launch_exits_2_with_one_sentence_that_names_the_fault(arguments, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert run_command(["launch", *shlex.split(arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert WRONG[arguments] in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("nodes", "keys", "told"),
    [
        (64, (), "disentangle.warmup.batch_size=32 does not divide into 512 equal parts"),
        (4, ("disentangle.warmup.batch_size=48",), "disentangle.warmup.batch_size=48 does not divide into 32 equal"),
        (4, ("disentangle.main.batch_size=48",), "disentangle.main.batch_size=48 with pairs.reuse=1 does not divide"),
        (4, ("disentangle.micro_batches=2",), "does not divide into 64 equal parts"),
        (2, ("disentangle.micro_batches=2",), None),
        (4, (), None),
    ],
)
def test_batch_that_does_not_divide_into_the_ranks_is_told_beside_the_file(nodes, keys, told, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert run_command(["launch", "--dry-run", "slurm", CONFIG, f"nodes={nodes}", "gpus=8", *keys]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("#!/usr/bin/env bash\n")
    assert told in output.err if told else output.err == ""


@pytest.mark.parametrize("name", ["kuberay_rayjob.yaml", "kuberay_raycluster.yaml", "slurm.sbatch"])
def test_sweep_that_a_file_tells_of_is_a_command_of_detaux(name):
    text = find_template(name).read_text().replace("\\\n#", "")
    (told,) = re.findall(r"(?:detaux sweep|slurm\.sbatch) (configs/sweeps/.*)", text)
    config, *keys = shlex.split(told)
    assert load_config(ROOT / config, keys).sweep.space


def test_edited_file_is_not_filled_in_by_guess():
    text = find_template("slurm.sbatch").read_text().replace("--nodes=1", "--nodes=2")
    with pytest.raises(UserError, match=r"slurm\.sbatch.*#SBATCH --nodes=1"):
        render_launch(Launch("slurm", CONFIG), text)


@pytest.mark.parametrize("name", PLACES)
def test_pieces_to_fill_in_stand_once_in_their_file(name):
    text = find_template(name).read_text()
    assert [text.count(piece) for piece in PLACES[name]] == [1] * len(PLACES[name])


def test_files_are_found_where_pip_installs_them(monkeypatch, tmp_path):
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    assert packaged["share/detaux/launch"] == ["launch/*"]
    installed = importlib.metadata.PackagePath("../../../share/detaux/launch/slurm.sbatch")
    installed.dist = types.SimpleNamespace(locate_file=lambda path: tmp_path / path)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "site-packages" / "detaux" / "config" / "shipped.py"))
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [installed] if name == "detaux" else None)
    assert find_template("slurm.sbatch") == tmp_path / installed
    with pytest.raises(UserError, match=r"torchrun\.sh is not installed"):
        find_template("torchrun.sh")


def test_rendered_arguments_survive_json_yaml_and_the_expansion_of_kubernetes(render):
    def expand(text):  # $$ is one $, and $(NAME) a variable
        return re.sub(r"\$\$|\$\(\w+\)", lambda found: "$" if found[0] == "$$" else "EXPANDED", text)

    keys = ["run.dir=/räume/\"x\": {a} #b 'c' & d $(HOME) $$(HOME) $x $$ $"]
    manifest = yaml.safe_load(render("trainjob", 1, [*keys, "disentangle.main.batch_size=8"]))
    assert [expand(text) for text in manifest["spec"]["trainer"]["args"][1:2]] == keys
    entrypoint = yaml.safe_load(render("kuberay", 1, [*keys, "disentangle.main.batch_size=8"]))["spec"]["entrypoint"]
    assert shlex.split(expand(entrypoint))[6:7] == keys
    assert shlex.join(keys) in render("slurm", 1, keys)
