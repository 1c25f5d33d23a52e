import pytest
import yaml

from detaux.config.read_yaml import read_yaml, take_text, take_values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("!!bool maybe", "'maybe' is no bool"),
        ("!!int ''", "'' is no int"),
        ("!!int x", "'x' is no int"),
        ("!!float ''", "'' is no float"),
        ("!!float [1]", "expected a scalar node"),
        ("!!binary aGVsbG8=", "binary is not allowed in a config"),
        ("{? !!binary aGVsbG8= : b}", "binary is not allowed in a config"),
        ("!!set {a, b}", "set is not allowed"),
        ("!!omap [a: b]", "omap is not allowed"),
        ("!!pairs [a: b]", "pairs is not allowed"),
        ("!own x", "!own is not allowed"),
        ("!!python/object/apply:os.system ['true']", "is not allowed in a config"),
        ('"\\UFFFFFFFF"', "names no character"),
        ("{? [a] : b}", "unhashable key"),
    ],
)
def test_what_yaml_cannot_build_and_no_config_holds_is_refused(text, reason):
    for whole in (text, f"a: [{text}]"):
        with pytest.raises(yaml.YAMLError, match=reason):
            read_yaml(whole)


@pytest.mark.parametrize("text", ["2024-05-01", "2024-99-99", "!!timestamp x", "2001-12-14t21:59:43.10-05:00"])
def test_date_is_a_name_as_it_was_typed(text):
    assert read_yaml(text) == text.split()[-1]


def test_scalars_have_their_text_and_their_value():
    tree = read_yaml("no: [007, ~, 1.50, yes, '8']")
    assert take_text(tree) == {"no": ["007", "~", "1.50", "yes", "8"]}
    assert take_values(tree) == {"no": [7, None, 1.5, True, "8"]}
