"""Run the pipeline up to discovery for a config and a seed, and read how well the chosen labels match a hidden factor.

Ground truth is read only here, after every choice. A finished run is kept, so a study that was stopped can continue.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path("docs/results.md")
STAGES = ("disentangle", "discover")
NOTHING_FOUND = 3
FOUND = 0.9


@dataclass(frozen=True)
class Outcome:
    """Hold the outcome of one run.

    `v_measure` is that of the chosen labels with their best hidden factor, `factor`, and `principal_nmi` their NMI
    with the principal label. `best_v` is the best V of any candidate. `principal_v` is the NMI of the principal
    subspace with the principal label. `found` counts the hidden factors that a candidate matches with V of at least
    FOUND. `commit` is the one that trained the run. `seconds` are those of its stages; if a stage was stopped and
    continued, only those of its last process count.
    """

    seed: int
    v_measure: float
    factor: str
    principal_nmi: float
    best_v: float
    principal_v: float
    found: int
    one_factor_share: float | None
    commit: str
    seconds: float


def write_table(name: str, lines: list[str]) -> None:
    """Write lines into the document, between its marks `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, mark, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
    if end not in rest:
        raise ValueError(f"{DOCUMENT} has no place for the table {name}: {begin} and {end}")
    table = "\n".join(lines)
    DOCUMENT.write_text(f"{before}{mark}\n{table}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def call(*arguments: str, allowed: tuple[int, ...] = (0,), limit: float | None = None) -> int:
    """Run a detaux command, and return its exit code.

    Raises RuntimeError if the code is not allowed, and subprocess.TimeoutExpired after `limit` seconds.
    """
    command = [sys.executable, "-m", "detaux", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    if result.returncode not in allowed:
        raise RuntimeError(
            f"detaux {' '.join(arguments)} exited with {result.returncode}: {result.stderr or result.stdout}"
        )
    return result.returncode


def build_set(config: str, root: Path, overrides: Sequence[str] = ()) -> Path:
    """Build the shard set that the runs of a study share, if the config asks for another than the one there."""
    folder = root / "shards"
    call("shards", "build", config, "--out", str(folder), *overrides)
    return folder


def best_match(candidate: dict[str, Any], principal: str) -> tuple[float, str]:
    """Return the largest V-measure over the known factors except the principal one, and that factor."""
    hidden = {name: scores for name, scores in candidate["factors"].items() if name != principal}
    return max(((scores["v_measure"], name) for name, scores in hidden.items()), default=(0.0, "none"))


def count_found(candidates: list[dict[str, Any]], principal: str) -> int:
    """Count the known factors except the principal one that a candidate matches with V of at least FOUND."""
    values = [(name, scores["v_measure"]) for one in candidates for name, scores in one["factors"].items()]
    return len({name for name, value in values if name != principal and value >= FOUND})


def run_once(
    config: str, overrides: list[str], seed: int, shards: Path, root: Path, limit: float = math.inf
) -> Outcome:
    """Disentangle and discover with one seed. `root` is the run's folder.

    Raises subprocess.TimeoutExpired if both together take longer than `limit` seconds.
    """
    keys = [f"run.dir={root}", f"run.seed={seed}", f"data.shards={shards}", *overrides]
    end = time.monotonic() + limit
    for stage in STAGES:
        allowed = (0, NOTHING_FOUND) if stage == "discover" else (0,)
        call(stage, config, *keys, allowed=allowed, limit=None if limit == math.inf else end - time.monotonic())
    discovery = json.loads((root / "discover" / "discovery.json").read_text())
    everything = discovery["candidates"] + discovery["baselines"]
    chosen = next((one for one in everything if one["index"] == discovery["chosen"]), None)
    manifest = json.loads((shards / "manifest.json").read_text())
    # if classes group the only factor, the principal label is not that factor, which is then hidden
    principal = manifest["principal"] if len(manifest["factors"]) > 1 else ""
    v_measure, factor = best_match(chosen, principal) if chosen else (0.0, "none found")
    record = json.loads((root / "disentangle" / "record.json").read_text())
    return Outcome(
        seed=seed,
        v_measure=v_measure,
        factor=factor,
        principal_nmi=chosen["principal"]["nmi"] if chosen else 0.0,
        best_v=max(best_match(one, principal)[0] for one in discovery["candidates"]),
        principal_v=discovery["principal_subspace"]["principal"]["nmi"],
        found=count_found(discovery["candidates"], principal),
        one_factor_share=discovery["pairs"]["one_factor_share"],
        commit=record["commit"][:10],
        seconds=record["seconds"] + discovery["seconds"],
    )


def describe(outcomes: list[Outcome]) -> str:
    """Return a row of a Markdown table with the columns COLUMNS."""
    values = ", ".join(f"{one.v_measure:.2f} {one.factor.replace('_', ' ')}" for one in outcomes)
    shares = [one.one_factor_share for one in outcomes if one.one_factor_share is not None]
    return " | ".join(
        [
            values,
            f"{statistics.mean(one.v_measure for one in outcomes):.2f}",
            f"{max(one.principal_nmi for one in outcomes):.3f}",
            f"{statistics.mean(one.best_v for one in outcomes):.2f}",
            f"{statistics.mean(one.principal_v for one in outcomes):.2f}",
            f"{statistics.mean(shares):.2f}" if shares else "-",
            f"{statistics.median(one.seconds for one in outcomes):.0f}",
        ]
    )


COLUMNS = (
    "V of the choice, per seed",
    "mean V",
    "largest NMI with principal",
    "mean best V of any candidate",
    "NMI of principal subspace with principal",
    "one-factor share",
    "median s",
)
