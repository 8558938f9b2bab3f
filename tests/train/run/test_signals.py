"""What makes a run stop by itself."""

import os
import signal

import pytest

from train.run.signals import StopRequest

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_leaves_a_note(number):
    stop = StopRequest()
    assert not stop.asked
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    assert stop.asked
    assert stop.reason == number.name


def test_what_ignores_a_closed_terminal_goes_on_ignoring_it():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    stop = StopRequest()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.asked
