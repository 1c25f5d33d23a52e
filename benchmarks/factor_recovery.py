"""Count the hidden factors that are found on grids of several sizes, with noise, numbers of subspaces and pair rules.

    python benchmarks/factor_recovery.py [--rows 4k 4k-noise ...] [--seeds 0 1 2 3 4]

Every row is the quickstart's recipe with the keys of the row, and with one training instead of two. A finished run is
kept, so the command can be stopped and repeated. It prints a row as soon as its last seed has ended.
"""

import argparse
from pathlib import Path

from study import Outcome, build_set, run_once

CONFIG, ALONE = "configs/quickstart.yaml", "model.restarts=1"
GRIDS = {"4k": "[5,5,10,4,4,1]", "32k": "[10,10,10,8,4,1]", "480k": "[10,10,10,8,4,15]"}
# row -> (grid, keys)
ROWS: dict[str, tuple[str, list[str]]] = {
    "4k": ("4k", []),
    "4k-restarts": ("4k", ["model.restarts=2"]),
    "4k-longer": ("4k", ["disentangle.main.steps=7500"]),
    "4k-noise": ("4k", ["data.noise=0.15"]),
    "4k-noise-restarts": ("4k", ["data.noise=0.15", "model.restarts=2"]),
    "32k": ("32k", []),
    "32k-restarts": ("32k", ["model.restarts=2"]),
    "32k-longer": ("32k", ["disentangle.main.steps=7500"]),
    "32k-noise": ("32k", ["data.noise=0.15"]),
    "4k-k6": ("4k", ["model.subspaces=6"]),
    "4k-k4": ("4k", ["model.subspaces=4"]),
    "4k-noise-k6": ("4k", ["data.noise=0.15", "model.subspaces=6"]),
    "4k-label": ("4k", ["pairs.partner=label"]),
    "4k-one-factor": ("4k", ["pairs.partner=one_factor"]),
    "32k-small-pool": ("32k", ["pairs.pool=4096"]),
    "480k": ("480k", ["discover.max_seconds=90"]),  # on CPUs a clustering of all 324,000 takes an hour
}
COLUMNS = (
    "keys",
    "V of the choice, per seed",
    "largest NMI with principal",
    "hidden factors with V >= .9",
    "NMI of principal subspace with principal",
    "one-factor share",
)


def describe_row(keys: list[str], outcomes: list[Outcome]) -> str:
    """Return a row of the Markdown table."""
    return " | ".join(
        [
            " ".join(f"`{key}`" for key in keys) or "-",
            ", ".join(f"{one.v_measure:.2f} {one.factor.replace('_', ' ')}" for one in outcomes),
            f"{max(one.principal_nmi for one in outcomes):.3f}",
            ", ".join(str(one.found) for one in outcomes),
            ", ".join(f"{one.principal_v:.2f}" for one in outcomes),
            ", ".join("-" if one.one_factor_share is None else f"{one.one_factor_share:.2f}" for one in outcomes),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/factor_recovery"))
    arguments = parser.parse_args()
    print("| row | " + " | ".join(COLUMNS) + " |\n" + "| --- " * (len(COLUMNS) + 1) + "|", flush=True)
    for name in arguments.rows:
        grid, keys = ROWS[name]
        shards = build_set(CONFIG, arguments.out / grid, [f"data.grid={GRIDS[grid]}"])
        outcomes = [
            run_once(CONFIG, [ALONE, *keys], seed, shards, arguments.out / f"{name}-seed{seed}")
            for seed in arguments.seeds
        ]
        print(f"| {name} | {describe_row(keys, outcomes)} |", flush=True)


if __name__ == "__main__":
    main()
