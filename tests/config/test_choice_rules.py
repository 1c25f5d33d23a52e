"""The table of choice rules, against the key that names one."""

import pytest

from detaux.config import Config, load_config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.config.load import format_help
from detaux.errors import UserError


def test_key_takes_every_rule_and_no_other():
    for rule in CHOICE_RULES:
        assert load_config(None, [f"discover.choose={rule}"]).discover.choose == rule
    for wrong in ("best", "", "null", "[paper]", "3"):
        with pytest.raises(UserError, match=r"expected separation\|paper\|"):
            load_config(None, [f"discover.choose={wrong}"])


def test_help_names_every_rule_and_what_the_default_means():
    text = format_help(["discover.choose"])
    assert f"({'|'.join(CHOICE_RULES)})" in text
    assert CHOICE_RULES[Config().discover.choose].meaning in text
