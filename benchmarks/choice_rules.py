"""Count how often each choice rule picks a good candidate. Ground truth judges the picks, and no rule reads it.

    python benchmarks/choice_rules.py RUN [RUN ...]

RUN is a run folder with a finished discover stage, on images with known factors. The last row takes the best
candidate by ground truth, so no rule can be better.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from detaux.config.choice_rules import CHOICE_RULES
from detaux.data.schema import read_manifest
from detaux.discover.choose import rank_scores
from detaux.runtime.readers import read_json
from detaux.runtime.record import read_stage_config

GOOD_V, GOOD_NMI, FAIR_V = 0.95, 0.02, 0.9
COLUMNS = ("rule", f"V >= {GOOD_V} and NMI <= {GOOD_NMI}", f"V >= {FAIR_V}", "mean V", "least V", "largest NMI")
Row = dict[str, Any]


def measure_match(candidate: Row, principal: str) -> float:
    """Return the V-measure of the candidate with the hidden factor that it matches best."""
    return max(row["v_measure"] for name, row in candidate["factors"].items() if name != principal)


def pick(candidates: list[Row], rule: str) -> Row:
    """Return the candidate that the rule picks by the stored scores."""
    return candidates[
        rank_scores([{**one["scores"], "noise_share": one["noise_share"]} for one in candidates], rule)[0]
    ]


def describe(name: str, picks: list[Row], matches: list[float]) -> str:
    """Return a row of the Markdown table."""
    nmis = [one["principal"]["nmi"] for one in picks]
    good = sum(v >= GOOD_V and nmi <= GOOD_NMI for v, nmi in zip(matches, nmis, strict=True))
    fair = sum(v >= FAIR_V for v in matches)
    values = [f"{np.mean(matches):.2f}", f"{min(matches):.2f}", f"{max(nmis):.3f}"]
    return f"| {' | '.join([name, f'{good} of {len(picks)}', f'{fair} of {len(picks)}', *values])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    fields = []
    for run in parser.parse_args().runs:
        found = read_json(run / "discover" / "discovery.json", "run discovery again")
        candidates = [one for one in found["candidates"] if one["eligible"]]
        shards = read_stage_config(run / "discover")["data"]["shards"] or run / "shards"
        if not candidates:
            print(f"{run}: no candidate may be chosen, left out")
            continue
        fields.append((candidates, read_manifest(Path(shards)).principal))
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|")
    for rule in CHOICE_RULES:
        picks = [pick(candidates, rule) for candidates, _ in fields]
        found = zip(picks, fields, strict=True)
        print(describe(f"`{rule}`", picks, [measure_match(one, principal) for one, (_, principal) in found]))
    best = [max((measure_match(one, name), i) for i, one in enumerate(field)) for field, name in fields]
    picks = [field[i] for (field, _), (_, i) in zip(fields, best, strict=True)]
    print(describe("ground truth", picks, [v for v, _ in best]))


if __name__ == "__main__":
    main()
