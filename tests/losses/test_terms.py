import dataclasses
import re
from importlib import import_module
from pathlib import Path

import pytest

import detaux.losses
from detaux.config.schema import LossesConfig, WeightsConfig
from detaux.losses.consistency import mix_subspaces
from detaux.losses.oracle import compute_normalizer, compute_oracle
from detaux.losses.regularization import compute_usage

ROOT = Path(__file__).parents[2]
FOLDER = Path(detaux.losses.__file__).parent
HEADINGS = ["Equation", "Inputs", "Output", "Gradient", "Batch statistics", "Departs", "Checked"]
# term -> its row of the README's table: the equation, the beta that scales it ("1" for none, "w" for the weight of a
# conditional warm-up), the test
ROWS = {
    name: (equation, beta, test)
    for equation, name, beta, test in re.findall(
        r"^\| ([^|]+) \| [^|]*`(\w+)_loss` \| (β?\d|w) \| [^|]+ \| `(\w+\.py)` \|$",
        (FOLDER / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}
TERMS = {path.stem for path in FOLDER.glob("*.py") if f"def {path.stem}_loss(" in path.read_text(encoding="utf-8")}
EQUATIONS = [
    *(getattr(import_module(f"detaux.losses.{name}"), f"{name}_loss") for name in sorted(TERMS)),
    mix_subspaces,
    compute_normalizer,
    compute_oracle,
    compute_usage,
]


def test_terms_are_the_weights_of_the_config_and_the_contrasts():
    weights = {field.name for field in dataclasses.fields(WeightsConfig)}
    assert weights | {"principal_contrast", "neighbour_contrast"} == TERMS


def test_readme_scales_the_terms_by_the_betas_of_eq_2():
    scaled = {name: row[1] for name, row in ROWS.items()}
    assert scaled == {
        "reconstruction": "1",
        "divergence": "w",
        **dict.fromkeys(("distance", "sparsity", "principal_contrast", "neighbour_contrast"), "β1"),
        "consistency": "β2",
        "regularization": "β3",
    }
    schedule = {field.name for field in dataclasses.fields(LossesConfig().schedule)} - {"warmup_fraction"}
    assert schedule == {f"beta{beta}" for beta in range(1, 4)}


@pytest.mark.parametrize("name", sorted(TERMS))
def test_term_has_one_word_for_file_function_test_and_readme_row(name):
    equation, _, test = ROWS[name]
    assert test == f"test_{name}.py"
    assert (ROOT / "tests" / "losses" / test).is_file()
    assert equation == "not in the paper" or equation.startswith("Eq. (")


@pytest.mark.parametrize("function", EQUATIONS, ids=lambda function: function.__name__)
def test_docstring_has_every_heading_in_order_and_names_its_test(function):
    found = re.findall(r"^    (\w[\w ]*): ", function.__doc__, re.MULTILINE)
    assert found == HEADINGS
    checked = re.search(r"Checked: +(\S+\.py)\.", function.__doc__)[1]
    assert (ROOT / checked).is_file()


def test_readme_names_only_files_and_functions_that_exist():
    readme = (FOLDER / "README.md").read_text()
    for name in re.findall(r"`(\w+\.py)`", readme):
        assert (FOLDER / name).is_file() or (ROOT / "tests" / "losses" / name).is_file(), name
    source = "".join(path.read_text() for path in FOLDER.glob("*.py"))
    for name in re.findall(r"`(\w+_loss|compute_\w+|mix_\w+)`", readme):
        assert f"def {name}(" in source, name
