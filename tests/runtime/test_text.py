import os

from hypothesis import given
from hypothesis import strategies as st

from detaux.runtime.text import show_name, show_text


@given(st.text())
def test_shown_text_is_printable_and_can_be_encoded(text):
    assert show_text(text).isprintable()
    show_text(text).encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_text_that_is_printable_is_shown_as_it_is(text):
    assert show_text(text) == text


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_names_of_different_bytes_that_are_no_utf8_stay_different(one, other):
    shown = [show_name(os.fsdecode(name)) for name in (one, other)]
    if b"\\" not in one + other:
        assert (shown[0] == shown[1]) == (one == other)


def test_control_characters_and_invisible_marks_are_spelled_out():
    assert show_text("a\x1b[31m\nb\u202e\u200b\x9b") == r"a\x1b[31m\nb\u202e\u200b\x9b"
