"""What older code left half way is gone on from with the recorded numbers, or is refused in one sentence."""

import json

import pytest
from golden.compare import choose_comparison, compare, format_table, read_golden
from golden.left import GO_ON, PASSED_OVER, REFUSED, VALUES
from golden.play import DONE

GOLDEN = read_golden()
HOW = choose_comparison(GOLDEN)
FRESH = {"disentangle": "disentangle_quickstart", "multitask": "multitask_two_seeds"}  # the case that begins anew
STAGES = [pytest.param(stage, marks=() if stage == "disentangle" else pytest.mark.slow) for stage in GO_ON]


@pytest.mark.parametrize("how", [HOW])
@pytest.mark.parametrize("stage", STAGES)
def test_what_was_left_gives_the_recorded_numbers_or_is_refused(player, tmp_path, stage, how):
    code, output, values = GO_ON[stage](player, tmp_path / "run")
    assert "Traceback" not in output
    if code == REFUSED:
        assert len([line for line in output.splitlines() if line.startswith("detaux:")]) == 1, output
        return
    assert code in DONE, output
    old = json.loads(VALUES.read_text())[stage]
    if stage in FRESH and any(words in output for words in PASSED_OVER):  # told, and begun anew
        fresh = GOLDEN["cases"][FRESH[stage]]
        old = {name: value for name, value in fresh.items() if name in old}
    differences, compared = compare(stage, old, values, how)
    table = "\n".join(format_table(differences, 20))
    assert not differences, f"{how} comparison of {compared} of {len(old)} values:\n{table}"
