import pytest

from detaux.config import load_config
from detaux.config.load import get_value
from detaux.errors import UserError
from detaux.sweep.space import parse_space


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("discover.max_seconds=010", 10.0),
        ("discover.max_seconds=1_000", 1000.0),
        ("discover.max_seconds=1e3", 1000.0),
        ("discover.max_seconds=+07.5", 7.5),
        ("multitask.weights=[010, 1e-1, 0.5]", [10.0, 0.1, 0.5]),
        ("data.grid=[010, 1_0]", [10, 10]),
        ("run.seed=0_10", 10),
        ("data.side=+64", 64),
    ],
)
def test_number_is_read_in_tens_whatever_the_type_of_its_key(override, value):
    assert get_value(load_config(None, [override]), override.partition("=")[0]) == value


@pytest.mark.parametrize("dotted", ["run.seed", "losses.distance.margin"])
@pytest.mark.parametrize("text", ["1:30", "1:30.5", "0x1F", "0b1", "1_", "1__0", "_1", "2024-05-01", "!!int '1:1'"])
def test_number_in_another_notation_is_refused_as_it_was_typed(dotted, text):
    with pytest.raises(UserError, match=rf"{dotted}='{text.split()[-1].strip(chr(39))}' is not allowed; expected"):
        load_config(None, [f"{dotted}={text}"])


def test_numbers_of_a_list_in_another_notation_are_refused():
    for override in ("data.grid=[1_, 2]", "data.grid=[0x1, 2]", "multitask.weights=[1:30]"):
        with pytest.raises(UserError, match="is not allowed; expected list of"):
            load_config(None, [override])


def test_numbers_of_a_search_space_are_read_in_tens():
    space = "{model.latent: {integer: [010, 1_6]}, losses.distance.margin: {log: [1e-2, 010.5]}, pairs.walk: {choice: [00, 01]}}"
    values = {one.key: one.values for one in parse_space(load_config(None, [f"sweep.space={space}"]))}
    assert values == {"model.latent": (10, 16), "losses.distance.margin": (0.01, 10.5), "pairs.walk": (0, 1)}


@pytest.mark.parametrize("values", ["[1, 1:30]", "[0x1, 2]", "[0, 1_]"])
def test_number_of_a_search_space_in_another_notation_is_refused_as_it_was_typed(values):
    config = load_config(None, [f"sweep.space={{losses.distance.margin: {{uniform: {values}}}}}"])
    with pytest.raises(UserError, match=r"sweep\.space: losses\.distance\.margin='(1:30|0x1|1_)' is not allowed"):
        parse_space(config)
