"""What arrives on the device: each process's samples of each accumulation step, in order, one update ahead."""

from __future__ import annotations

import threading

import pytest
import torch

from dataset.batches import Batch, Batches
from dataset.shard import Shard
from plan_fixtures import LATENT_SHAPE, batch_plan, rows


class EncodedNumbers:
    """Stands for EncodedRows: a row's moments and prompt embeddings are its number."""

    device = torch.device("cpu")

    def moments(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.float().view(-1, 1, 1, 1, 1).expand(-1, 2, *LATENT_SHAPE)

    def prompt_embeds(self, numbers: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return numbers.float().view(-1, 1, 1)


def batch(plan: object, batch_size: int, process: int = 0) -> Batch:
    (only,) = Batches(plan, EncodedNumbers(), 1.0, Shard(batch_size, 1, process)).at(0)
    return only


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 4), (2, 2), (4, 1), (2, 1)])
def test_processes_and_accumulation_deal_out_the_same_samples_in_the_same_order(processes: int,
                                                                               accumulation: int) -> None:
    plan = batch_plan(size=16)
    batch_size = 16 // (processes * accumulation)
    dealt = [Batches(plan, EncodedNumbers(), 1.0, Shard(batch_size, accumulation, process)).at(5)
             for process in range(processes)]
    in_order = [dealt[process][step] for step in range(accumulation) for process in range(processes)]
    assert torch.equal(torch.cat([one.prompt_embeds for one in in_order]).flatten().long(), plan[5].rows)
    assert torch.equal(torch.cat([one.noise for one in in_order]), plan.noise(5).noise)


@pytest.mark.parametrize(("asked", "processes", "own"), [
    ((64, 1), 1, (64, 1)), ((64, 1), 2, (32, 1)), ((32, 2), 2, (32, 1)), ((4, 8), 2, (4, 4)), ((4, 8), 16, (2, 1)),
    ((5, 3), 2, (4, 2)), ((64, 1), 3, (22, 1)), ((1, 1), 2, (1, 1))])
def test_an_update_has_as_many_samples_however_many_processes_share_it(
        asked: tuple[int, int], processes: int, own: tuple[int, int]) -> None:
    """No batch is larger than one that a device holds, and each process has as many samples as another."""
    shard = Shard.of(*asked, processes, process_index=processes - 1)
    assert (shard.batch_size, shard.accumulation_steps, shard.process_index) == (*own, processes - 1)
    assert own[0] <= asked[0]
    if asked[0] * asked[1] % processes == 0:
        assert processes * shard.size == asked[0] * asked[1]


def test_negative_and_rewarded_samples_are_told_by_their_indices() -> None:
    plan = batch_plan([*rows(20), *rows(10, kind="sampled"), *rows(10, kind="negative")], size=500)
    one, whole = plan[0], batch(plan, 500)
    assert torch.equal(whole.negative, (one.rows >= 30).nonzero().flatten())
    assert torch.equal(whole.reward_indices, one.reward_mask.nonzero().flatten())
    assert torch.equal(whole.rows, one.rows[one.reward_mask])
    assert torch.equal(whole.strokes, one.strokes[one.reward_mask]) and len(set(whole.strokes.tolist())) > 1


def test_each_process_distorts_in_its_own_way() -> None:
    plan = batch_plan(size=500)
    halves = [batch(plan, 250, process) for process in (0, 1)]
    assert len({torch.rand((), generator=half.distortions).item() for half in halves}) == 2


def test_batches_arrive_in_order_and_their_thread_ends_with_the_loop() -> None:
    plan = batch_plan(size=4)
    batches = Batches(plan, EncodedNumbers(), 0.5, Shard(4, 1, 0))
    for step, (one,) in enumerate(batches.from_step(0, 5)):
        assert torch.equal(one.prompt_embeds.flatten().long(), plan[step].rows)
        expected = (plan[step].rows.view(-1, 1, 1, 1) * (1 + plan.noise(step).posterior)) * 0.5
        assert torch.allclose(one.latents, expected, atol=1e-5)
    upcoming = batches.from_step(0, 5)
    next(upcoming)
    upcoming.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    assert list(batches.from_step(5, 5)) == []
