"""Record the golden values anew, or compare with them.

    python tests/golden/record.py [--check] [--tree FOLDER] [CASE ...]

Every case is run, or those that are named. The table shows each value that differs, its name, old and new; then golden.json is
written, unless --check only compares: exit code 1 where there is a difference. --tree runs the code of another checkout, with its
configs, against the values and the overrides that stand beside this file.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch and numpy load
sys.path[:0] = [str(Path(__file__).parents[1])]  # forks.py, golden/

from forks import ForkServer
from golden.cases import CASES
from golden.compare import BITWISE, PATH, choose_comparison, compare, format_table, read_golden, read_machine
from golden.left import leave
from golden.play import DONE, Player


def run_player(tree, work):
    """What `work` returns of a player in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = ForkServer(Path(folder))
        try:
            return work(Player(server, Path(folder), tree))
        finally:
            server.close()


def run_cases(player, names):
    """The values of the cases of these names, by case."""
    for name in names:
        begun = time.monotonic()
        player.run(name)
        print(f"{name}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return {name: player.values[name] for name in names}


def format_golden(golden):
    """The text of golden.json: a line for each value, so that a change shows as one."""
    blocks = []
    for case, values in golden["cases"].items():
        lines = [f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in values.items()]
        blocks.append(f"{json.dumps(case)}:{{\n" + ",\n".join(lines) + "}")
    return f'{{"machine":{json.dumps(golden["machine"])},\n"cases":{{\n' + ",\n".join(blocks) + "}}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], metavar="FOLDER")
    parser.add_argument("--leave", action="store_true", help="write left.zip and left.json anew, and nothing else")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parsed = parser.parse_args()
    if parsed.leave:
        return run_player(parsed.tree.resolve(), leave)
    names = [case.name for case in CASES if not parsed.cases or case.name in parsed.cases]
    golden = read_golden() if PATH.exists() else {"machine": read_machine(), "cases": {}}
    how = choose_comparison(golden)
    found = run_player(parsed.tree.resolve(), lambda player: run_cases(player, names))
    differences, compared = [], 0
    for name in names:
        parts, count = compare(name, golden["cases"].get(name, {}), found[name], how if parsed.check else BITWISE)
        differences, compared = differences + parts, compared + count
    known = [name for name in names if name in golden["cases"]]
    lost = [] if parsed.cases else [name for name in golden["cases"] if name not in names]
    new = [name for name in names if name not in known]
    total = sum(len(golden["cases"][name]) for name in known)
    if differences:
        print("\n".join(format_table(differences)))
    for name in new:
        print(f"new: {name}, {len(found[name])} values")
    for name in lost:
        print(f"no more: {name}")
    print(
        f"{len(known)} cases, {how} comparison: {compared} of {total} values compared, {len(differences)} numbers differ."
    )
    if parsed.check:
        return int(bool(differences or new or lost))
    if failed := [name for name in names if found[name]["exit code"] not in DONE]:
        print(f"nothing is written: {', '.join(failed)} failed.", file=sys.stderr)
        return 2
    if golden["machine"] != read_machine() and parsed.cases:
        print("these values are of another machine: record all cases.", file=sys.stderr)
        return 2
    kept = {name: values for name, values in golden["cases"].items() if name not in lost} | found
    order = {case.name: kept[case.name] for case in CASES if case.name in kept}
    PATH.write_text(format_golden({"machine": read_machine(), "cases": order}))
    print(f"wrote {PATH.name}, {PATH.stat().st_size / 1000:.0f} kB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
