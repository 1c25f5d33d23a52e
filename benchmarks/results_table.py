"""Make the table of docs/results.md: presets, upper bound and single ablations on the quickstart's grid, with seeds.

    python benchmarks/results_table.py [--seeds 0 1 2] [--rows quickstart label ...]

Every row is one training (`model.restarts=1`) with the same grid, split and network. All rows but one have the same
principal labels. The presets of the paper and of the official code have their own losses, pair rule and optimiser. A
finished run is kept, so the command can be stopped and repeated. It writes the document only if it ran every row.
"""

import argparse
from pathlib import Path

from study import COLUMNS, build_set, describe, run_once

QUICKSTART, ALONE = "configs/quickstart.yaml", "model.restarts=1"
# row -> (title, config, overrides)
ROWS: dict[str, tuple[str, str, list[str]]] = {
    "quickstart": ("quickstart", QUICKSTART, [ALONE]),
    "no-walk": ("quickstart without walk", QUICKSTART, [ALONE, "pairs.walk=0"]),
    "pull": ("quickstart with pull 1, as Eq. (7)", QUICKSTART, [ALONE, "pairs.pull=1"]),
    "no-contrast": ("quickstart without principal contrast", QUICKSTART, [ALONE, "pairs.principal_contrast=0"]),
    "no-merge": ("quickstart without merge", QUICKSTART, [ALONE, "discover.merge=false"]),
    "label": ("quickstart with pairs by label alone", QUICKSTART, [ALONE, "pairs.partner=label"]),
    "scarce": ("quickstart with a tenth of the principal labels", QUICKSTART, [ALONE, "data.labelled_fraction=0.1"]),
    "one-factor": ("one-factor pairs from ground truth (upper bound)", QUICKSTART, [ALONE, "pairs.partner=one_factor"]),
    "paper": ("paper preset", "configs/paper/quickstart-grid.yaml", []),
    "official": ("official preset", "configs/official/quickstart-grid.yaml", []),
}
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--document", type=Path, default=Path("docs/results.md"))
    arguments = parser.parse_args()
    shards = build_set(QUICKSTART, arguments.out)
    lines = ["| row | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for name in arguments.rows:
        title, config, overrides = ROWS[name]
        own = [text for text in overrides if text.startswith("data.")]
        read = build_set(QUICKSTART, arguments.out / name, own) if own else shards
        outcomes = [
            run_once(config, overrides, seed, read, arguments.out / f"{name}-seed{seed}") for seed in arguments.seeds
        ]
        lines.append(f"| {title} | {describe(outcomes)} |")
        print(lines[-1], flush=True)
    if arguments.rows == list(ROWS) and arguments.document.is_file():
        text = arguments.document.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        arguments.document.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
