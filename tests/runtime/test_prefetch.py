import threading
from dataclasses import dataclass

import pytest
import torch

from detaux.runtime.prefetch import Prefetcher


@dataclass(frozen=True)
class Value:
    number: int
    thread: str

    @property
    def tensors(self):
        return ()


def build(made, fails_at=None):
    def make(number):
        if number == fails_at:
            raise ValueError(f"no value {number}")
        made.append(number)
        return Value(number, threading.current_thread().name)

    return Prefetcher(make, torch.device("cpu"))


def test_values_come_in_the_order_asked_for_and_are_made_once():
    made = []
    batches = build(made)
    found = [batches.take(number, number + 1 if number < 4 else None).number for number in range(5)]
    assert found == made == [0, 1, 2, 3, 4]


def test_following_value_is_made_in_another_thread():
    batches = build([])
    here = threading.current_thread().name
    assert batches.take(0, 1).thread == here
    assert batches.take(1, None).thread != here
    assert batches.take(2, None).thread == here


def test_value_that_was_not_the_one_made_ahead_is_made_anew():
    batches = build([])
    batches.take(0, 1)
    assert batches.take(7, None).number == 7


def test_error_is_raised_where_its_value_is_taken():
    batches = build([], fails_at=1)
    assert batches.take(0, 1).number == 0
    with pytest.raises(ValueError, match="no value 1"):
        batches.take(1, 2)
