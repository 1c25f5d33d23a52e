import typing

import pytest

from detaux.config.schema import PairsConfig
from detaux.data.partners.registry import PARTNER_RULES


@pytest.mark.parametrize("name", PARTNER_RULES)
def test_rule_has_the_name_of_its_file(name):
    assert PARTNER_RULES[name].__module__ == f"detaux.data.partners.{name}"


def test_rules_are_those_that_the_config_takes():
    assert list(PARTNER_RULES) == list(typing.get_args(typing.get_type_hints(PairsConfig)["partner"]))


def test_ground_truth_enters_by_one_factor_and_no_other_rule():
    assert [name for name, rule in PARTNER_RULES.items() if rule.uses_ground_truth] == ["one_factor"]
