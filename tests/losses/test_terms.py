import dataclasses
import re
from pathlib import Path

import pytest

import detaux.losses
from detaux.config.schema import LossesConfig, WeightsConfig
from detaux.losses import TERMS
from detaux.losses.consistency import mix_subspaces
from detaux.losses.oracle import compute_normalizer, compute_oracle
from detaux.losses.regularization import compute_usage

ROOT = Path(__file__).parents[2]
FOLDER = Path(detaux.losses.__file__).parent
HEADINGS = ["Equation", "Inputs", "Output", "Gradient", "Batch statistics", "Departs", "Checked"]
EQUATIONS = [term.function for term in TERMS.values()] + [
    mix_subspaces,
    compute_normalizer,
    compute_oracle,
    compute_usage,
]


def test_terms_are_the_weights_of_the_config_and_the_contrasts():
    weights = {field.name for field in dataclasses.fields(WeightsConfig)}
    assert set(TERMS) == weights | {"principal_contrast", "neighbour_contrast"}


def test_terms_ride_on_the_betas_of_eq_2():
    betas = {beta: {name for name, term in TERMS.items() if term.beta == beta} for beta in range(4)}
    assert betas[0] == {"reconstruction"}
    assert betas[1] == {"distance", "sparsity", "principal_contrast", "neighbour_contrast"}
    assert betas[2] == {"consistency"}
    assert betas[3] == {"regularization"}
    schedule = {field.name for field in dataclasses.fields(LossesConfig().schedule)} - {"warmup_fraction"}
    assert schedule == {f"beta{beta}" for beta in range(1, 4)}


@pytest.mark.parametrize("name", TERMS)
def test_term_has_one_word_for_file_function_test_and_readme_row(name):
    function = TERMS[name].function
    assert function.__module__ == f"detaux.losses.{name}"
    assert function.__name__ == f"{name}_loss"
    assert (ROOT / "tests" / "losses" / f"test_{name}.py").is_file()
    row = re.search(rf"^\|.*`{name}_loss`.*$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert row is not None
    assert TERMS[name].equation in row[0]
    assert f"test_{name}.py" in row[0]


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
