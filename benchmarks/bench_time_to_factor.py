"""Measure the seconds until the chosen labels match a hidden factor with V >= 0.9: quickstart and official preset.

    python benchmarks/bench_time_to_factor.py [--seed 0] [--most 4]

The official preset gets the quickstart's number of steps, then 2, 4, ... times as many. It stops when it reaches V >=
0.9 or after `--most` times the steps. Both run in turn on the same machine, one process at a time.
"""

import argparse
from pathlib import Path

from results import append_row
from study import build_set, run_once

QUICKSTART, OFFICIAL = "configs/quickstart.yaml", "configs/official/quickstart-grid.yaml"
GOAL = 0.9
WARMUP_STEPS, MAIN_STEPS = 3000, 2500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/time-to-factor"))
    arguments = parser.parse_args()
    shards = build_set(QUICKSTART, arguments.out)
    command = f"python benchmarks/bench_time_to_factor.py --seed {arguments.seed} --most {arguments.most}"
    ours = run_once(QUICKSTART, ["model.restarts=1"], arguments.seed, shards, arguments.out / "quickstart")
    print(f"quickstart, one training: V {ours.v_measure:.2f} ({ours.factor}) after {ours.seconds:.0f} s", flush=True)
    cases = [("quickstart, one training", ours, 1.0)]
    times = 1
    while times <= arguments.most:
        steps = [
            f"disentangle.warmup.steps={WARMUP_STEPS * times}",
            f"disentangle.main.steps={MAIN_STEPS * times}",
        ]
        theirs = run_once(OFFICIAL, steps, arguments.seed, shards, arguments.out / f"official-{times}")
        print(
            f"official x {times}: V {theirs.v_measure:.2f} ({theirs.factor}) after {theirs.seconds:.0f} s", flush=True
        )
        cases.append((f"official preset, {times} x the steps", theirs, theirs.seconds / ours.seconds))
        if theirs.v_measure >= GOAL:
            break
        times *= 2
    for case, one, ratio in cases:
        append_row(
            benchmark="time_to_factor",
            case=case,
            metric=f"s, V {one.v_measure:.2f} {'reached' if one.v_measure >= GOAL else 'not reached'}",
            value=one.seconds,
            unit="s",
            ratio=ratio,
            spread="one seed",
            command=command,
        )


if __name__ == "__main__":
    main()
