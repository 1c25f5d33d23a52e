"""Time the pair losses, forward and backward: plain torch, torch.compile and fused kernels, interleaved in one run.

    python benchmarks/bench_losses.py [--sizes vector feature_map] [--normalizers mean_distance] [--rounds 9] [--graph]
        [--without torch.compile]

Every case computes distance, sparsity and regularisation from the same projections, and their gradient. That must at
least read the projections once forward and once backward, and write the gradient once. `GB/s` is these bytes divided
by the median time. `of copy` is that rate divided by the rate of a plain copy in the same rounds. The kernels need a
GPU; on a CPU only the other two run. --graph replays each case from a CUDA graph, which removes the time between
launches. --without leaves out the cases with one of these words in their names, such as torch.compile, which takes a
minute to start.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from results import append_row, name_machine, read_command
from torch import Tensor

from detaux.losses.backends import BACKENDS
from detaux.losses.distance import distance_loss
from detaux.losses.oracle import compute_oracle
from detaux.losses.regularization import compute_usage, regularization_loss
from detaux.losses.sparsity import sparsity_loss

T = TypeVar("T")
Step = Callable[[], object]

# name -> (images, subspaces, latent size)
SIZES = {
    "vector": (8192, 10, 16),
    "feature_map": (64, 10, 25088),
    "small_vector": (512, 10, 16),
    "small_feature_map": (16, 10, 1568),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BASELINE = "reference"


def compute_terms(values_NKD: Tensor, is_different_B: Tensor, *, backend: str, normalizer: str) -> Tensor:
    """Compute all pair losses, with chains of one link."""
    images, _, latent = values_NKD.shape
    measures = BACKENDS[backend](values_NKD, images // 2, normalizer)
    relation = (measures.squared_BK, measures.normalizer_K, is_different_B)
    changed_BK = compute_oracle(*relation, form="distance", sharpness=0.0)
    usage_BK = compute_usage(*relation, form="distance", sharpness=5.0)
    return (
        distance_loss(measures.squared_BK, changed_BK, form="paper", margin=1.0)
        + sparsity_loss(measures.overlap_N, latent, "paper")
        + regularization_loss(usage_BK, "paper")
    )


def build_steps(values_NKD: Tensor, normalizer: str, without: list[str]) -> dict[str, Step]:
    """Return a function for each case that leave_out keeps; it computes the terms and their gradient once."""
    is_different_B = torch.arange(len(values_NKD) // 2, device=values_NKD.device) % 5 == 0
    backends = ["reference", "triton"] if values_NKD.is_cuda else ["reference"]
    steps: dict[str, Step] = {"copy": values_NKD.detach().clone}
    for backend in backends:
        compute = partial(compute_terms, backend=backend, normalizer=normalizer)
        for case, is_compiled in leave_out({backend: False, f"{backend}, torch.compile": True}, without).items():
            if is_compiled:
                torch._dynamo.reset()
            function = torch.compile(compute) if is_compiled else compute
            steps[case] = partial(differentiate, function, values_NKD, is_different_B)
    return steps


def leave_out(cases: dict[str, T], words: list[str]) -> dict[str, T]:
    """Return the cases that have none of the words in their names."""
    return {name: case for name, case in cases.items() if not any(word in name for word in words)}


def differentiate(compute: Callable[..., Tensor], values_NKD: Tensor, is_different_B: Tensor) -> Tensor:
    return torch.autograd.grad(compute(values_NKD, is_different_B), values_NKD)[0]


def capture(step: Step) -> Step:
    """Capture a step in a CUDA graph and return a function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure_seconds(step: Step, repeats: int, device: torch.device) -> float:
    """Return the mean seconds of a step over `repeats` of them."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    begun = time.perf_counter()
    for _ in range(repeats):
        step()
    synchronize()
    return (time.perf_counter() - begun) / repeats


def compare(name: str, normalizer: str, dtype: str, device: torch.device, arguments: argparse.Namespace) -> None:
    """Time every case of one size and normaliser, print the table and append its rows."""
    images, subspaces, latent = SIZES[name]
    shape = (subspaces, images, latent)  # the layout of StackedProjectors
    values_NKD = torch.randn(shape, device=device, dtype=DTYPES[dtype]).transpose(0, 1).requires_grad_()
    size = values_NKD.numel() * values_NKD.element_size()
    steps = build_steps(values_NKD, normalizer, arguments.without)
    for step in steps.values():
        for _ in range(3):
            step()
    if arguments.graph:
        steps = {case: capture(step) for case, step in steps.items()}
    seconds: dict[str, list[float]] = {case: [] for case in steps}
    for _ in range(arguments.rounds):
        for case, step in steps.items():
            seconds[case].append(measure_seconds(step, arguments.repeats, device))
    report(f"{name}, {dtype}, {normalizer}, {name_machine(device)}", shape, size, seconds, arguments)


def report(
    setting: str,
    shape: tuple[int, int, int],
    size: int,
    seconds: dict[str, list[float]],
    arguments: argparse.Namespace,
) -> None:
    """Print the table of a setting's cases, and append their rows. `size` is the number of bytes of the projections."""
    add_row = partial(append_row, benchmark="losses", command=read_command())
    subspaces, images, latent = shape
    setting += ", CUDA graph" if arguments.graph else ""
    print(f"\n{setting} [{images}, {subspaces}, {latent}]; floor {3 * size / 1e6:.1f} MB")
    print(f"{'case':28} {'ms':>9} {'ratio':>6} {'GB/s':>8} {'of copy':>8}  spread of ratios")
    copied = 2 * size / statistics.median(seconds["copy"])
    for case, values in seconds.items():
        median = statistics.median(values)
        if case == "copy":
            print(f"{case:28} {median * 1e3:9.3f} {'':6} {copied / 1e9:8.1f}")
            add_row(case=f"{case}, {setting}", metric="GB/s", value=copied / 1e9, unit="GB/s", ratio=1.0)
            continue
        ratios = [base / value for value, base in zip(values, seconds[BASELINE], strict=True)]
        ratio, spread = statistics.median(ratios), f"{min(ratios):.2f}-{max(ratios):.2f}"
        rate = 3 * size / median
        print(f"{case:28} {median * 1e3:9.3f} {ratio:6.2f} {rate / 1e9:8.1f} {rate / copied:8.2f}  {spread}")
        add_row(
            case=f"{case}, {setting}",
            metric="ms a forward and backward",
            value=median * 1e3,
            unit="ms",
            ratio=ratio,
            spread=spread,
        )
        add_row(
            case=f"{case}, {setting}",
            metric="GB/s, ratio to a copy",
            value=rate / 1e9,
            unit="GB/s",
            ratio=rate / copied,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, help="default: the large ones on a GPU, else the small")
    parser.add_argument("--normalizers", nargs="+", default=["mean_norm", "rms_distance", "mean_distance"])
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--without", nargs="+", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("no GPU: the fused kernels need one and are left out.")
        arguments.graph = False
    sizes = ["vector", "feature_map"] if device.type == "cuda" else ["small_vector", "small_feature_map"]
    for name in arguments.sizes or sizes:
        for normalizer in arguments.normalizers:
            compare(name, normalizer, arguments.dtype, device, arguments)


if __name__ == "__main__":
    main()
