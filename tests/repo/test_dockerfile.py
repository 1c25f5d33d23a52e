"""The Dockerfile: hadolint reads it, and its steps run without Docker, each stage a throw-away overlay over this machine's root.

The overlay stands for the base image: Debian with a Python. A stage's steps are run as they stand, by root in a chroot; what
they write lies in a folder that is removed at the end. It needs root and a Linux that mounts overlays, and skips elsewhere.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COPIED = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = re.compile(r"PIP_\w+|\w+_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE", re.I)  # how pip reaches its index
ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/seen"
for name in dev sys; do mount --rbind "/$name" "$1/seen/$name"; done
mount -t proc proc "$1/seen/proc"
mount --bind "$1/tmp" "$1/seen/tmp"
seen=$1/seen user=$2 folder=$3
shift 3
mkdir -p "$seen$folder"
exec chroot --userspec="$user:$user" "$seen" env -i --chdir="$folder" "$@"
"""
AS_KUBERAY = r"""
ray start --head --disable-usage-stats --num-cpus=2 --port=0 --dashboard-host=0.0.0.0 --dashboard-port=28265 \
  --dashboard-agent-listen-port=28266 --metrics-export-port=28267 --ray-client-server-port=28268
for url in localhost:28266/api/local_raylet_healthz localhost:28265/api/gcs_healthz; do
  for attempt in 1 2 3 4 5 6 7 8 9 10; do wget --tries 1 -T 2 -q -O- "http://$url" | grep success && break; sleep 2; done
done
ray job submit --address http://localhost:28265 -- python launch/ray_train.py --help
ray job submit --address http://localhost:28265 -- detaux sweep --help
"""


def list_steps():
    """(instruction, what follows it) of the Dockerfile, comments left out and continued lines joined."""
    lines = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", "").splitlines():
        if line.strip():
            yield line.split(None, 1)


STEPS = list(list_steps())
ARGS = {name: value for word, rest in STEPS if word == "ARG" for name, _, value in [rest.partition("=")]}


@dataclass
class Stage:
    """What stands from one FROM to the next: a layer over this machine's root, and what the instructions have set."""

    top: Path
    variables: dict = field(default_factory=lambda: {"PATH": SYSTEM_PATH, "HOME": "/root"})
    user: str = "0"
    folder: str = "/"

    def __post_init__(self):
        for name in ("upper", "work", "seen", "tmp"):
            (self.top / name).mkdir(parents=True)
        (self.top / "tmp").chmod(0o1777)

    def run(self, *command, timeout=1200):
        passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        own = {"PIP_CONSTRAINT": os.devnull}  # the pins are those of the file, not of this machine
        variables = passed | own | self.variables
        words = [f"{name}={value}" for name, value in variables.items()]
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]
        place = [str(self.top), self.user, self.folder]
        return subprocess.run(
            [*enter, *place, *words, *command], capture_output=True, text=True, timeout=timeout, check=False
        )

    def pretend(self):
        """Make the root look like the base image: `python` on the path, and no user 1000."""
        python = find_python()
        prepare = f"""sed -i '/:1000:/d' /etc/passwd /etc/group
        for folder in {" ".join(map(str, python.parents))}; do chmod o+x "$folder"; done
        printf '#!/bin/sh\\nexec {python} "$@"\\n' > /usr/local/bin/python && chmod 755 /usr/local/bin/python"""
        return self.run("sh", "-ec", prepare)

    def copy(self, source, target):
        target = self.top / "upper" / os.path.join(self.folder, target).lstrip("/")
        for name in COPIED if source == "." else [source]:
            place = target / name if source == "." else target
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place)

    def take(self, other, folder):
        target = self.top / "upper" / folder.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--archive", "--link", other.top / "upper" / folder.lstrip("/"), target], check=True)


def find_python():
    """The Python of the image's version where this machine has it, and the one that runs the tests elsewhere."""
    wanted = re.search(r"python:(\d+\.\d+)", ARGS["PYTHON_IMAGE"])[1]
    for found in (shutil.which(f"python{wanted}"), sys.executable):
        command = [found, "-c", "import sys; print(sys._base_executable)"]
        if found and (result := subprocess.run(command, capture_output=True, text=True, check=False)).returncode == 0:
            return Path(result.stdout.strip()).resolve()


def build(top):
    """The last stage, once every step of the Dockerfile has ended well."""
    stages, declared = {}, {}
    for word, rest in STEPS:
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            stage = stages[name] = Stage(top / name)
            if (result := stage.pretend()).returncode:
                pytest.skip(f"no overlay can be mounted here: {result.stderr.strip()}")
            declared = {}
        elif word == "ARG":
            name, _, value = rest.partition("=")
            declared[name] = value
        elif word == "RUN":
            before, stage.variables = stage.variables, stage.variables | declared
            result = stage.run(*(json.loads(rest) if rest.startswith("[") else ["sh", "-c", rest]))
            stage.variables = before
            assert result.returncode == 0, f"{rest}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
        elif word == "COPY" and rest.startswith("--from="):
            source, folder, target = rest.removeprefix("--from=").split()
            assert folder == target
            stage.take(stages[source], folder)
        elif word == "COPY":
            stage.copy(*rest.split())
        elif word == "WORKDIR":
            stage.folder = stage.variables["HOME"] = rest  # the last is the user's home
        elif word == "USER":
            stage.user = rest
        elif word == "ENV":
            for name, value in (pair.split("=", 1) for pair in rest.split()):
                stage.variables[name] = value.replace(f"${name}", stage.variables.get(name, ""))
        else:
            assert word in ("VOLUME", "ENTRYPOINT", "CMD"), word
    return stage


@pytest.fixture
def scratch():
    with tempfile.TemporaryDirectory() as folder:  # of gigabytes, which pytest would keep
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_hadolint_finds_nothing():
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=path)
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_base_is_pinned_and_the_user_is_not_root():
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", ARGS["PYTHON_IMAGE"])
    assert {rest.split()[0] for word, rest in STEPS if word == "FROM"} == {"${PYTHON_IMAGE}"}
    assert [rest for word, rest in STEPS if word == "USER"] == ["1000"]


def test_build_lines_name_arguments_and_extras_that_exist():
    lines = re.findall(r"^# (docker build .*?)(?:   .*)?$", DOCKERFILE, re.M)
    given = [pair for line in lines for pair in re.findall(r"--build-arg (\w+)=(\S+)", line)]
    assert len(lines) == 3
    assert {name for name, _ in given} <= set(ARGS)
    extras = [ARGS["EXTRAS"], *(value for name, value in given if name == "EXTRAS")]
    assert set(",".join(extras).split(",")) <= set(PROJECT["optional-dependencies"])
    assert any("gpu" in value.split(",") for value in extras)


def test_pinned_torch_is_one_that_the_project_allows():
    allowed = {one.name: one.specifier for one in map(Requirement, PROJECT["dependencies"])}
    for name in ("torch", "torchvision"):
        assert allowed[name].contains(ARGS[f"{name.upper()}_VERSION"])


@pytest.mark.slow
def test_steps_run_in_a_clean_place_and_leave_what_kuberay_needs(scratch):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("overlays need root on Linux")
    image = build(scratch)
    detaux = json.loads(dict(STEPS)["ENTRYPOINT"])

    doctor = image.run(*detaux, "doctor")
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert re.search(rf"torch +│ {re.escape(ARGS['TORCH_VERSION'])}", doctor.stdout), doctor.stdout
    for package in ("ray", "optuna", "wandb"):
        assert re.search(rf" {package} +│ \d", doctor.stdout), doctor.stdout

    assert image.run("sh", "-c", "id -u; touch runs/here && ! touch configs/here").stdout == "1000\n"
    assert "No module named pip" in image.run("/opt/detaux/bin/python", "-m", "pip").stderr
    launch = ["launch", "--dry-run", "kuberay", "configs/paper/shapes3d.yaml", "nodes=4", "gpus=8"]
    here = [sys.executable, "-m", "detaux", *launch]
    assert image.run(*detaux, *launch).stdout == subprocess.check_output(here, cwd=ROOT, text=True)

    ray = image.run("/bin/bash", "-ec", AS_KUBERAY, timeout=180)
    assert ray.returncode == 0, ray.stdout[-3000:] + ray.stderr[-3000:]
    assert ray.stdout.count("success") >= 2
    assert "one stage on a Ray cluster" in ray.stdout
    assert "usage: detaux sweep" in ray.stdout


@pytest.mark.slow
def test_extras_of_the_cuda_build_resolve():
    (extras,) = re.findall(r"EXTRAS=(gpu\S*)", DOCKERFILE)
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    pins = [f"{name}=={ARGS[f'{name.upper()}_VERSION']}" for name in ("torch", "torchvision")]
    command = [str(find_python()), "-m", "pip", "install", *options, *pins, f"{ROOT}[{extras}]"]
    environment = os.environ | {"PIP_CONSTRAINT": os.devnull}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    names = {one["metadata"]["name"] for one in json.loads(result.stdout)["install"]}
    assert {"torch", "cupy-cuda13x", "cuml-cu13", "ray", "wandb"} <= names
