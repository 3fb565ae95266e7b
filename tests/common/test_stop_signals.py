"""A signal to stop is never lost."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from common.stop_signals import Stopped, StopSignals
from trainer.loop import TrainingRun


def one_of_two(stop: StopSignals) -> SimpleNamespace:
    """As much of a run in the first of two processes as it takes to ask the other one."""
    return SimpleNamespace(accelerator=SimpleNamespace(num_processes=2, device="cpu"), stop=stop)


def test_a_signal_that_comes_while_two_processes_ask_each_other_counts_the_next_time(
        monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer_of_the_other(number: torch.Tensor, _op: object) -> None:
        asked.append(int(number))
        if len(asked) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(torch.distributed, "all_reduce", answer_of_the_other)
    with StopSignals() as stop, pytest.raises(Stopped) as stopped, stop.deferred():
        TrainingRun.agree_to_stop(one_of_two(stop))
        assert stop.received == signal.SIGTERM
        TrainingRun.agree_to_stop(one_of_two(stop))
    assert asked == [0, signal.SIGTERM]
    assert stopped.value.exit_status == 143


def test_a_signal_to_the_other_process_stops_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda number, _op: number.fill_(signal.SIGINT))
    with StopSignals() as stop, pytest.raises(Stopped) as stopped, stop.deferred():
        TrainingRun.agree_to_stop(one_of_two(stop))
    assert stopped.value.exit_status == 130
