"""What a step draws depends on the seed and the step alone, and follows the shares that the settings name."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from dataset.batch_plan import BatchPlan, epoch_order
from dataset.batches import Batches
from dataset.rows import Row
from dataset.sampling_weights import row_weights, timestep_weights, with_extra

SHAPE = (4, 2, 2)


def rows(count: int = 40, **facts: object) -> list[Row]:
    return [Row(Path(f"{number}.png"), str(number), ("one", "two", "three")[:number % 3 + 1],
                {"strokes": number % 20 + 1, **facts}) for number in range(count)]


def draws(count: int = 40, size: int = 16, seed: int = 0, dropout: float = 0.25, **changes: object) -> BatchPlan:
    settings = {"rows": rows(count), "seed": seed, "size": size, "latent_shape": SHAPE,
                "timestep_weights": torch.ones(1000), "dropout": dropout, "tag_share": 0.5, "noise_offset": 0.0,
                "weights": torch.ones(count)}
    return BatchPlan(**{**settings, **changes})


def test_a_step_draws_the_same_whenever_it_is_asked_for() -> None:
    forwards, backwards = draws(), draws()
    kept = {step: forwards[step] for step in range(12)}
    for step in reversed(range(12)):
        again = backwards[step]
        assert all(torch.equal(getattr(kept[step], field.name), getattr(again, field.name)) for field in fields(again))


def test_no_running_random_state_is_read_or_changed() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = draws()[3].noise
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(draws()[3].noise, first)


def test_steps_and_seeds_differ() -> None:
    noises = [draws(seed=seed)[step].noise for seed in range(3) for step in range(3)]
    assert len({noise.sum().item() for noise in noises}) == 9
    one = draws()[0]
    assert not torch.equal(one.noise, one.posterior_noise)


def test_an_epoch_with_equal_weights_sees_every_row_once() -> None:
    run = draws(size=8)
    for epoch in range(3):
        seen = torch.cat([run[step].rows for step in range(5 * epoch, 5 * epoch + 5)])
        assert seen.sort().values.tolist() == list(range(40))


def test_batches_run_on_over_the_end_of_an_epoch() -> None:
    run = draws(count=10, size=16)
    seen = torch.cat([run[step].rows for step in range(5)])  # 80 draws of 10 rows
    assert torch.bincount(seen).tolist() == [8] * 10


def test_a_row_comes_as_often_as_its_weight_says() -> None:
    weights = torch.tensor([1.0, 2.0, 4.0, 0.5] * 25)
    seen = torch.cat([epoch_order(weights, 0, epoch) for epoch in range(20)])
    counts = torch.bincount(seen, minlength=100).double().view(25, 4).mean(0) / 20
    assert torch.allclose(counts, torch.tensor([1.0, 2.0, 4.0, 0.5]).double() / 1.875, atol=0.1)


def test_dropout_tags_captions_and_timesteps_follow_their_shares() -> None:
    run = draws(size=500)
    drawn = [run[step] for step in range(8)]
    assert torch.cat([one.dropped for one in drawn]).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.cat([one.tagged for one in drawn]).float().mean().item() == pytest.approx(0.5, abs=0.03)
    timesteps = torch.cat([one.timesteps for one in drawn])
    assert 0 <= timesteps.min() < 20
    assert 980 < timesteps.max() < 1000
    for one in drawn:
        assert (one.caption < torch.tensor([number % 3 + 1 for number in range(40)])[one.rows]).all()


def test_a_row_without_a_stroke_count_is_never_tagged() -> None:
    assert not draws(rows=rows(strokes=None))[0].tagged.any()


def test_a_rejected_row_is_marked_and_keeps_its_caption() -> None:
    mixed = [*rows(20), *rows(20, kind="rejected")]
    run = draws(rows=mixed, size=500)
    drawn = [run[step] for step in range(8)]
    for one in drawn:
        assert torch.equal(one.rejected, one.rows >= 20) and not (one.dropped & one.rejected).any()
    share = torch.cat([one.dropped[~one.rejected] for one in drawn]).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.03)
    (batch,) = Batches(run, _Encoded(), 1.0, 500, 1, 0, torch.device("cpu")).at(0)
    assert torch.equal(batch.rejected, (run[0].rows >= 20).nonzero().flatten())


def test_a_recogniser_looks_where_parts_and_strokes_are_decided_and_is_told_the_strokes_they_name() -> None:
    run = draws(rows=[*rows(10), *rows(10, components=[{"element": "口"}]), *rows(10, kind="drawn"),
                      *rows(10, kind="rejected")], size=500)
    one = run[0]
    own, parts = one.rows >= 20, (one.rows >= 10) & (one.rows < 20)
    expected = (own | parts) & (one.timesteps >= 300) & (one.timesteps < 980)
    assert torch.equal(one.reward_mask, expected & ~one.dropped)
    assert all((one.reward_mask & these).any() for these in (own, parts))
    assert torch.equal(one.strokes > 0, one.tagged & ~one.dropped)
    (batch,) = Batches(run, _Encoded(), 1.0, 500, 1, 0, torch.device("cpu")).at(0)
    assert torch.equal(batch.reward_mask, one.reward_mask.nonzero().flatten())
    assert torch.equal(batch.rows, one.rows[one.reward_mask])
    assert torch.equal(batch.strokes, one.strokes[one.reward_mask]) and len(set(batch.strokes.tolist())) > 1
    halves = [Batches(run, _Encoded(), 1.0, 250, 1, process, torch.device("cpu")).at(0)[0] for process in (0, 1)]
    assert len({torch.rand((), generator=half.distortions).item() for half in halves}) == 2


def test_two_threads_may_draw_from_different_epochs_at_once() -> None:
    run = draws(size=8)
    alone = {step: run[step].rows.tolist() for step in range(40)}

    def all_steps(start: int) -> None:
        for step in [*range(start, 40), *range(start)] * 15:
            assert run[step].rows.tolist() == alone[step]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(all_steps, start) for start in (0, 20)]:
                done.result()
    finally:
        sys.setswitchinterval(before)


def test_a_share_of_composed_characters_with_a_count_is_called_by_one_part_and_looked_at_by_nobody() -> None:
    parts = [{"element": "氵", "meaning": "water"}, {"element": "馬", "meaning": "horse"}, {"element": "亠"}]
    several = [*rows(20, kind="real", components=parts), *rows(20, kind="composed", components=parts)]
    assert several[0].component_names == () and several[20].component_names == ("water", "horse")
    run, plain = (draws(rows=several, size=500, single_component_fraction=share) for share in (0.4, 0.0))
    captions = torch.tensor([len(row.captions) for row in several])
    alone, could = [], []
    for step in range(8):
        one, other = run[step], plain[step]
        named = one.caption >= captions[one.rows]
        assert (one.rows[named] >= 20).all() and one.tagged[named].all() and not (named & one.reward_mask).any()
        assert set((one.caption - captions[one.rows])[named].tolist()) == {0, 1}
        assert torch.equal(one.caption[~named], other.caption[~named]) and torch.equal(one.noise, other.noise)
        assert (other.caption < captions[other.rows]).all()
        alone.append(named)
        could.append(one.tagged & (one.rows >= 20))
    share = torch.cat(alone).sum() / torch.cat(could).sum()
    assert share.item() == pytest.approx(0.4, abs=0.04)
    wanted = run.wanted(1)
    assert wanted.shape[1] == 5 and wanted[run[0].rows, run[0].caption, run[0].tagged.long()].all()


def test_what_a_run_will_draw_is_known_before_it_begins() -> None:
    run = draws(size=8)
    wanted = run.wanted(4)
    assert not run.wanted(0).any()
    for step in range(4):
        drawn = run[step]
        assert wanted[drawn.rows, drawn.caption, drawn.tagged.long()].all()
    assert wanted.sum() <= 32


def test_composed_rows_make_up_their_share_and_common_ones_weigh_more() -> None:
    several = [*rows(10, strokes=None, kind="real"), *rows(30, strokes=None, kind="composed")]
    weights = row_weights(several, composed_fraction=0.25, frequent_kanji_weight=3.0)
    assert weights[10:].sum() / weights.sum() == pytest.approx(0.25)
    graded = [row for grade in (None, 8, 4, 2, 1) for row in rows(1, strokes=None, grade=grade)]
    assert row_weights(graded, 0.5, 3.0).tolist() == [1.0, 3.0, 3.0, 6.0, 12.0]
    in_words = [row for grade in (None, "8", "1") for row in rows(1, strokes=None, grade=grade)]
    assert row_weights(in_words, 0.5, 3.0).tolist() == [1.0, 3.0, 12.0]


def test_a_part_balance_draws_composed_rows_by_their_rarest_component_and_leaves_the_others() -> None:
    def composed(*elements: str) -> list[Row]:
        parts = [{"element": element, "original": element} for element in elements]
        return rows(1, strokes=None, kind="composed", components=parts)

    several = [*rows(3, strokes=None, kind="real", components=[{"element": "夕"}]), *composed("口", "夕"),
               *(row for _ in range(3) for row in composed("口", "木")), *composed("口")]
    plain, whole, half = (row_weights(several, 0.5, 3.0, balance) for balance in (0.0, 1.0, 0.5))
    assert torch.equal(plain, row_weights(several, 0.5, 3.0))
    assert torch.equal(whole[:3], plain[:3]) and whole[3:].sum() == pytest.approx(plain[3:].sum().item())
    # 夕 is rarest in one composed row, 木 in three, 口 in five: weights in proportion to 1, 1/3, 1/5
    assert (whole[3:8] / whole[3]).tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3, 1 / 5])
    assert (half[3:8] / half[3]).tolist() == pytest.approx([1.0, 3 ** -0.5, 3 ** -0.5, 3 ** -0.5, 5 ** -0.5])
    crowd = [*composed("口", "夕"), *(row for _ in range(99) for row in composed("口"))]
    lean = row_weights(crowd, 0.5, 3.0, 1.0)
    assert lean[0] / lean[1] == pytest.approx(5.0), "at most MAX_RARITY_WEIGHT times the usual"
    of_nothing = rows(9, kind="composed")
    assert torch.equal(row_weights(of_nothing, 0.5, 3.0, 1.0), row_weights(of_nothing, 0.5, 3.0))


def test_rows_of_a_second_folder_share_their_part_evenly_and_leave_the_others_proportions() -> None:
    weights = with_extra(torch.tensor([1.0, 3.0]).double(), 4, 0.2)
    assert weights.tolist() == pytest.approx([0.2, 0.6, 0.05, 0.05, 0.05, 0.05])
    assert with_extra(weights, 0, 0.2) is weights


def test_a_common_weight_of_one_leans_to_nothing() -> None:
    assert torch.equal(row_weights([*rows(5, grade=1), *rows(5, grade=None)], 0.5, 1.0), torch.ones(10).double())


@pytest.mark.parametrize(("strategy", "below", "share"), [("none", 400, 0.4), ("later", 400, 0.4 / 2.8),
                                                          ("earlier", 600, 2.4 / 2.8),
                                                          ("range", 300, 0.3 / 2.2)])
def test_a_bias_draws_the_favoured_timesteps_more_often(strategy: str, below: int, share: float) -> None:
    weights = timestep_weights(1000, strategy, portion=0.6, multiplier=4.0, begin=300, end=700)
    drawn = torch.cat([draws(size=64, timestep_weights=weights)[step].timesteps for step in range(200)])
    assert (drawn < below).double().mean().item() == pytest.approx(share, abs=0.02)
    assert drawn.min() >= 0
    assert drawn.max() < 1000


def test_a_set_of_anything_else_is_drawn_evenly() -> None:
    assert torch.equal(row_weights(rows(strokes=None), 0.5, 3.0), torch.ones(40).double())


def test_noise_offset_shifts_whole_channels() -> None:
    shift = draws(noise_offset=0.5)[0].noise - draws()[0].noise
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-6)
    assert shift.std() == pytest.approx(0.5, abs=0.15)


class _Encoded:
    """Stands for EncodedRows: a row's moments are its number."""

    def moments(self, drawn: torch.Tensor) -> torch.Tensor:
        return drawn.float().view(-1, 1, 1, 1, 1).expand(-1, 2, *SHAPE)

    def text(self, drawn: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return drawn.float().view(-1, 1, 1)


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 4), (2, 2), (4, 1), (2, 1)])
def test_processes_and_accumulation_share_out_the_same_samples_in_the_same_order(processes: int,
                                                                                 accumulation: int) -> None:
    run = draws(size=16)
    batch_size = 16 // (processes * accumulation)
    shares = [Batches(run, _Encoded(), 1.0, batch_size, accumulation, process, torch.device("cpu")).at(5)
              for process in range(processes)]
    text = torch.cat([shares[process][part].text for part in range(accumulation) for process in range(processes)])
    noise = torch.cat([shares[process][part].noise for part in range(accumulation) for process in range(processes)])
    assert torch.equal(text.flatten().long(), run[5].rows)
    assert torch.equal(noise, run[5].noise)


def test_batches_arrive_in_order_and_their_thread_ends_with_the_loop() -> None:
    import threading

    batches = Batches(draws(size=4), _Encoded(), 0.5, 4, 1, 0, torch.device("cpu"))
    for step, (batch,) in enumerate(batches.from_step(0, 5)):
        assert torch.equal(batch.text.flatten().long(), draws(size=4)[step].rows)
        drawn = draws(size=4)[step]
        expected = (drawn.rows.view(-1, 1, 1, 1) * (1 + drawn.posterior_noise)) * 0.5
        assert torch.allclose(batch.latents, expected, atol=1e-5)
    upcoming = batches.from_step(0, 5)
    next(upcoming)
    upcoming.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    assert list(batches.from_step(5, 5)) == []
