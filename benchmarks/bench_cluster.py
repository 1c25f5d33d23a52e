"""Time the HDBSCAN of scikit-learn, `hdbscan`, ours in torch and cuML on blobs with noise, interleaved in one run.

    python benchmarks/bench_cluster.py [--sizes 5000 50000] [--dims 10 32] [--min-samples 64] [--rounds 3]
        [--limit 900] [--memory 12] [--libraries scikit-learn hdbscan torch cuml]

All libraries get the same points, min_cluster_size = 2% of them, the same min_samples (at most min_cluster_size; 0:
equal to it), and one thread. Each fit runs in its own process. A fit that exceeds --limit seconds or --memory GiB is
stopped and reported as "not within" it. Seconds are CPU time without imports, the median over rounds: on an idle
machine this is the waiting time, and on a shared machine it can still be compared. The ratio is the median of the
rounds' own ratios to the first library. The adjusted Rand index compares the first library's labels with those of the
others.

If there is a CUDA device, torch and cuML run on it. Their seconds are then wall time, after a fit of some thousand
points that compiles the kernels. --limit then limits their CPU time, and --memory is ignored because a driver
reserves more addresses. A library that is not installed is left out. At full size:

    python benchmarks/bench_cluster.py --sizes 480000 --dims 10 --libraries torch cuml
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import signal
import statistics
import time
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import torch
from results import append_row, name_machine

from detaux.config.schema import DiscoverConfig

CLUSTERS = 10
NOISE_SHARE = 0.1
MIN_CLUSTER_FRACTION = 0.02
LIBRARIES = {"scikit-learn": "sklearn", "hdbscan": "hdbscan", "torch": "torch", "cuml": "cuml"}  # name -> module
ON_GPUS = ("torch", "cuml")
PREPARING = 4096  # points of the fit that compiles the kernels


def make_blobs(samples: int, dims: int, seed: int = 0) -> np.ndarray:
    """Return float32 [samples, dims], shuffled: ten unit Gaussians in a box, and a tenth of uniform noise."""
    random = np.random.default_rng(seed)
    noise = round(NOISE_SHARE * samples)
    centres = random.uniform(-10, 10, (CLUSTERS, dims))
    blobs = centres[random.integers(CLUSTERS, size=samples - noise)] + random.normal(size=(samples - noise, dims))
    return random.permutation(np.concatenate([blobs, random.uniform(-12, 12, (noise, dims))])).astype(np.float32)


def find_gpu(library: str) -> str:
    """Return the name of the GPU that a library runs on; "" if it runs on the CPU."""
    return name_machine(torch.device("cuda")) if library in ON_GPUS and torch.cuda.is_available() else ""


def find_fault(library: str) -> str:
    """Return why a library cannot run here; "" if it can."""
    if importlib.util.find_spec(LIBRARIES[library]) is None:
        return f"the package {LIBRARIES[library]} is not here"
    return "it needs a GPU" if library == "cuml" and not torch.cuda.is_available() else ""


def fit(library: str, samples: int, dims: int, min_samples: int, limit: float, memory: float, pipe: Connection) -> None:
    """Cluster the points and send (seconds, labels) through the pipe, or None if `memory` GiB are not enough."""
    gpu = find_gpu(library)
    if not gpu:
        resource.setrlimit(resource.RLIMIT_AS, (round(memory * 2**30), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (round(limit), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    points = make_blobs(samples, dims)
    smallest = round(MIN_CLUSTER_FRACTION * samples)
    neighbours = min(min_samples or smallest, smallest)
    if library == "scikit-learn":
        from sklearn.cluster import HDBSCAN

        # scikit-learn counts the point itself
        run = partial(HDBSCAN(smallest, min_samples=neighbours + 1, copy=True).fit_predict, points)
    elif library == "hdbscan":
        from hdbscan import HDBSCAN

        run = partial(HDBSCAN(smallest, min_samples=neighbours, core_dist_n_jobs=1).fit_predict, points)
    else:
        from detaux.discover.backends import load_clusterer

        torch.set_num_threads(1)
        config = DiscoverConfig(min_cluster_fraction=MIN_CLUSTER_FRACTION, min_samples=min_samples)

        def run(count: int = samples) -> np.ndarray:
            values = torch.from_numpy(points[:count]).to("cuda" if gpu else "cpu")
            return load_clusterer("hdbscan", library)(values, config, 0).labels

        if gpu:
            run(PREPARING)
    clock = time.perf_counter if gpu else time.process_time
    begun = clock()
    try:
        labels = run()
    except MemoryError:
        pipe.send(None)
    else:
        pipe.send((clock() - begun, labels))


def fit_within(
    library: str, samples: int, dims: int, min_samples: int, limit: float, memory: float
) -> tuple[float, np.ndarray] | tuple[str, float]:
    """Fit in a fresh process. Return its seconds and labels, or unit ("s", "GiB") and value of the exceeded limit."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=fit, args=(library, samples, dims, min_samples, limit, memory, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv() or ("GiB", memory)
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return "s", limit
        raise RuntimeError(f"{library} failed on {samples} x {dims}; its error is above") from None
    finally:
        process.kill()
        process.join()


def run_case(
    libraries: list[str],
    samples: int,
    dims: int,
    min_samples: int,
    rounds: int,
    limit: float,
    memory: float,
    command: str,
) -> None:
    """Time every library on one size, then print and append a row for each."""
    from sklearn.metrics import adjusted_rand_score

    seconds: dict[str, list[float]] = {library: [] for library in libraries}
    labels: dict[str, np.ndarray] = {}
    passed: dict[str, tuple[str, float]] = {}  # library -> the limit that it exceeded
    for _ in range(rounds):
        for library in libraries:
            if library in passed:
                continue
            match fit_within(library, samples, dims, min_samples, limit, memory):
                case (str() as unit, value):
                    passed[library] = (unit, value)
                case (value, found):
                    seconds[library].append(value)
                    labels[library] = found
    for library in libraries:
        ratio, spread = None, ""
        if not passed:
            ratios = [value / base for value, base in zip(seconds[library], seconds[libraries[0]], strict=True)]
            ratio, spread = statistics.median(ratios), f"{min(ratios):.2f}-{max(ratios):.2f}"
        unit, value = passed.get(library) or ("s", statistics.median(seconds[library]))
        gpu = find_gpu(library)
        case = f"{library}, {samples} x {dims}, {gpu or 'CPU'}"
        metric = f"fit, {'not within' if library in passed else 'wall clock' if gpu else 'CPU time'}"
        print(
            f"{case:32} {metric} {value:.2f} {unit}  ratio {'-' if ratio is None else f'{ratio:.2f}'} {spread}",
            flush=True,
        )
        append_row(
            benchmark="cluster",
            case=case,
            metric=metric,
            value=value,
            unit=unit,
            ratio=ratio,
            spread=spread,
            command=command,
        )
    for library in libraries[1:] if not passed else ():
        agreement = adjusted_rand_score(labels[libraries[0]], labels[library])
        print(f"{'':32} adjusted Rand index of {library} with {libraries[0]}: {agreement:.4f}", flush=True)
        append_row(
            benchmark="cluster",
            case=f"{library} with {libraries[0]}, {samples} x {dims}",
            metric="adjusted Rand index",
            value=agreement,
            unit="",
            command=command,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 50_000, 200_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[10, 32])
    parser.add_argument("--min-samples", type=int, default=64, help="0: min_cluster_size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), help="the first is the baseline"
    )
    parser.add_argument("--limit", type=float, default=900.0, help="CPU seconds after which a fit is stopped")
    parser.add_argument("--memory", type=float, default=12.0, help="GiB of address space a fit may take")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    faults = {library: find_fault(library) for library in arguments.libraries}
    for library in filter(faults.get, faults):
        print(f"{library} is left out: {faults[library]}", flush=True)
    libraries = [library for library in arguments.libraries if not faults[library]]
    listed = [" ".join(map(str, values)) for values in (arguments.sizes, arguments.dims)]
    command = (
        f"python benchmarks/bench_cluster.py --sizes {listed[0]} --dims {listed[1]} "
        f"--min-samples {arguments.min_samples} --rounds {arguments.rounds} --limit {arguments.limit:g} "
        f"--memory {arguments.memory:g} --libraries {' '.join(libraries)}"
    )
    for samples in arguments.sizes:
        for dims in arguments.dims:
            run_case(
                libraries,
                samples,
                dims,
                arguments.min_samples,
                arguments.rounds,
                arguments.limit,
                arguments.memory,
                command,
            )


if __name__ == "__main__":
    main()
