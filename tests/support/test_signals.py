"""An interrupt that waits: it acts at the end of a block, once, and a second one acts at once."""

import signal
import threading

import pytest

from qtt.support.signals import OneInterrupt, interrupts_held


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_acts_at_the_end(number: signal.Signals) -> None:
    previous = signal.signal(number, signal.default_int_handler)
    reached = []
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_held():
            signal.raise_signal(number)
            reached.append("the end")
        assert reached == ["the end"]
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, previous)


def test_a_second_interrupt_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on after the second")


def test_without_an_interrupt_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_held():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_is_not_lost() -> None:
    with pytest.raises(ValueError, match="ours"), interrupts_held():
        raise ValueError("ours")


def test_in_other_threads_it_holds_nothing() -> None:
    seen = []

    def work() -> None:
        with interrupts_held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_of_several_interrupts_the_first_acts_and_others_only_where_they_are_heeded() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached = []
    with OneInterrupt() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")
        for _ in range(2):
            with interrupts.heeded():
                signal.raise_signal(signal.SIGINT)
                pytest.fail("went on")
        signal.raise_signal(signal.SIGINT)
        reached.append("the very end")
    assert reached == ["the end", "the very end"]
    assert signal.getsignal(signal.SIGINT) is before


def test_what_has_ended_is_not_interrupted() -> None:
    with OneInterrupt() as interrupts:
        interrupts.hold()
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)


def test_a_handler_that_raises_nothing_is_called_every_time() -> None:
    heard: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with OneInterrupt():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert heard == [signal.SIGINT] * 2
