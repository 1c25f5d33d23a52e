from detaux.config.schema.multitask import RULES
from detaux.multitask.weightings import FIXED, WEIGHTINGS


def test_every_rule_can_be_named_in_the_config():
    assert set(WEIGHTINGS) - {FIXED} == set(RULES)
