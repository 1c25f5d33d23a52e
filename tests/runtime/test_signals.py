import os
import signal
import threading

import pytest

from detaux.errors import InterruptedRunError
from detaux.runtime.signals import catch_signals, ignore_signals, interrupt_by_signals, raise_signals

NUMBERS = [signal.SIGTERM, signal.SIGUSR1]


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers are as they were when a test has ended."""
    before = [signal.getsignal(number) for number in (*NUMBERS, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (*NUMBERS, signal.SIGINT)] == before


@pytest.mark.parametrize("number", [*NUMBERS, signal.SIGINT])
def test_caught_signal_is_a_request_and_the_second_one_stops(number):
    with pytest.raises(KeyboardInterrupt), catch_signals() as request:  # noqa: PT012
        send(number)
        assert request.received == number
        send(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_outside_a_loop_ends_with_one_sentence_and_its_exit_code(number):
    with pytest.raises(InterruptedRunError, match="the same command continues") as caught, raise_signals():
        send(number)
    assert caught.value.exit_code == 128 + number


@pytest.mark.parametrize("number", NUMBERS)
def test_loop_inside_a_stage_has_the_signal_first(number):
    with raise_signals(), catch_signals() as request:
        send(number)
        assert request.received == number


@pytest.mark.parametrize("number", NUMBERS)
def test_ignored_signal_passes(number):
    with ignore_signals():
        send(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_signal_does_what_ctrl_c_does_and_is_told_apart(number):
    with interrupt_by_signals() as request, pytest.raises(KeyboardInterrupt):
        send(number)
    assert request.received == number


def test_thread_that_may_set_no_handler_works_without():
    done = []

    def work():
        with raise_signals(), catch_signals() as request:
            done.append(request.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [None]
