"""What a step draws depends on the seed and the step alone, and follows the fractions that the settings name."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest
import torch

from dataset import batch_plan as batch_plan_module
from dataset.batch_plan import NOISE_BLOCK, StepPlan, epoch_order
from dataset.rows import component_names
from dataset.sampling_weights import timestep_weights
from plan_fixtures import batch_plan, rows


def test_a_step_draws_the_same_whenever_it_is_asked_for() -> None:
    forwards, backwards = batch_plan(), batch_plan()
    kept = {step: forwards[step] for step in range(12)}
    for step in reversed(range(12)):
        again = backwards[step]
        assert all(torch.equal(getattr(kept[step], field.name), getattr(again, field.name)) for field in fields(again))


def test_no_running_random_state_is_read_or_changed() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = batch_plan().noise(3).noise
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(batch_plan().noise(3).noise, first)


def test_steps_and_seeds_differ() -> None:
    noises = [batch_plan(seed=seed).noise(step).noise for seed in range(3) for step in range(3)]
    assert len({noise.sum().item() for noise in noises}) == 9
    one = batch_plan().noise(0)
    assert not torch.equal(one.noise, one.posterior)


def test_a_part_of_a_plan_is_that_of_its_samples() -> None:
    whole = batch_plan()[2]
    part = whole[slice(4, 7)]
    assert isinstance(part, StepPlan)
    assert all(torch.equal(getattr(part, field.name), getattr(whole, field.name)[4:7]) for field in fields(whole))


# --- rows ------------------------------------------------------------------------------------------------------------

def test_an_epoch_with_equal_weights_sees_every_row_once() -> None:
    plan = batch_plan(size=8)
    for epoch in range(3):
        seen = torch.cat([plan[step].rows for step in range(5 * epoch, 5 * epoch + 5)])
        assert seen.sort().values.tolist() == list(range(40))


def test_batches_run_on_over_the_end_of_an_epoch() -> None:
    plan = batch_plan(rows(10), size=16)
    seen = torch.cat([plan[step].rows for step in range(5)])  # 80 samples of 10 rows
    assert torch.bincount(seen).tolist() == [8] * 10


def test_an_update_may_span_several_epochs() -> None:
    assert torch.bincount(batch_plan(rows(5), size=20)[3].rows).tolist() == [4] * 5


def test_a_row_comes_as_often_as_its_weight_says() -> None:
    weights = torch.tensor([1.0, 2.0, 4.0, 0.5] * 25)
    seen = torch.cat([epoch_order(weights, 0, epoch) for epoch in range(20)])
    counts = torch.bincount(seen, minlength=100).double().view(25, 4).mean(0) / 20
    assert torch.allclose(counts, torch.tensor([1.0, 2.0, 4.0, 0.5]).double() / 1.875, atol=0.1)


def test_two_threads_may_draw_from_different_epochs_at_once() -> None:
    plan = batch_plan(size=8)
    alone = {step: plan[step].rows.tolist() for step in range(40)}

    def all_steps(start: int) -> None:
        for step in [*range(start, 40), *range(start)] * 15:
            assert plan[step].rows.tolist() == alone[step]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(all_steps, start) for start in (0, 20)]:
                done.result()
    finally:
        sys.setswitchinterval(before)


# --- captions --------------------------------------------------------------------------------------------------------

def test_dropout_tags_captions_and_timesteps_follow_their_fractions() -> None:
    plan = batch_plan(size=500)
    steps = [plan[step] for step in range(8)]
    assert torch.cat([one.dropped for one in steps]).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.cat([one.tagged for one in steps]).float().mean().item() == pytest.approx(0.5, abs=0.03)
    timesteps = torch.cat([one.timesteps for one in steps])
    assert 0 <= timesteps.min() < 20
    assert 980 < timesteps.max() < 1000
    for one in steps:
        assert (one.captions < torch.tensor([number % 3 + 1 for number in range(40)])[one.rows]).all()


def test_a_row_without_a_stroke_count_is_never_tagged() -> None:
    assert not batch_plan(rows(strokes=None))[0].tagged.any()


def test_a_negative_sample_is_marked_and_keeps_its_caption() -> None:
    plan = batch_plan([*rows(20), *rows(20, kind="negative")], size=500)
    steps = [plan[step] for step in range(8)]
    for one in steps:
        assert torch.equal(one.negative, one.rows >= 20) and not (one.dropped & one.negative).any()
    fraction = torch.cat([one.dropped[~one.negative] for one in steps]).float().mean().item()
    assert fraction == pytest.approx(0.25, abs=0.03)


def test_a_reward_model_scores_where_components_and_strokes_are_decided_and_is_told_the_strokes_they_name() -> None:
    one = batch_plan([*rows(10), *rows(10, components=[{"element": "口"}]), *rows(10, kind="sampled"),
                      *rows(10, kind="negative")], size=500)[0]
    own, of_known_components = one.rows >= 20, (one.rows >= 10) & (one.rows < 20)
    expected = (own | of_known_components) & (one.timesteps >= 300) & (one.timesteps < 980)
    assert torch.equal(one.reward_mask, expected & ~one.dropped)
    assert all((one.reward_mask & these).any() for these in (own, of_known_components))
    assert torch.equal(one.strokes > 0, one.tagged & ~one.dropped)


def test_a_fraction_of_composed_rows_with_a_count_goes_by_one_component_and_is_scored_by_no_reward_model() -> None:
    components = [{"element": "氵", "meaning": "water"}, {"element": "馬", "meaning": "horse"}, {"element": "亠"}]
    several = [*rows(20, kind="real", components=components), *rows(20, kind="composed", components=components)]
    assert several[0].component_names == () and several[20].component_names == ("water", "horse")
    plan, plain = (batch_plan(several, size=500, single_component_fraction=fraction) for fraction in (0.4, 0.0))
    captions = torch.tensor([len(row.captions) for row in several])
    alone, could = [], []
    for step in range(8):
        one, other = plan[step], plain[step]
        named = one.captions >= captions[one.rows]
        assert (one.rows[named] >= 20).all() and one.tagged[named].all() and not (named & one.reward_mask).any()
        assert set((one.captions - captions[one.rows])[named].tolist()) == {0, 1}
        assert torch.equal(one.captions[~named], other.captions[~named])
        assert (other.captions < captions[other.rows]).all()
        alone.append(named)
        could.append(one.tagged & (one.rows >= 20))
    fraction = torch.cat(alone).sum() / torch.cat(could).sum()
    assert fraction.item() == pytest.approx(0.4, abs=0.04)
    required = plan.required_captions(1)
    assert required.shape[1] == 5 and required[plan[0].rows, plan[0].captions, plan[0].tagged.long()].all()


def test_a_fraction_of_rows_with_named_components_goes_by_these_alone_or_behind_the_words() -> None:
    components = [{"element": "氵", "original": "水", "meaning": "water"}, {"element": "馬", "meaning": "horse"}]
    several = [*rows(20, kind="real", components=components), *rows(20, kind="composed", components=components),
               *rows(20, kind="real", components=[*components, {"element": "亠"}]), *rows(20, kind="sampled")]
    assert several[1].component_captions == ("water 水, horse 馬", "one, water 水, horse 馬", "two, water 水, horse 馬")
    assert rows(1, components=[{"element": "A", "meaning": "a letter"}])[0].component_captions == ()
    assert rows(1, components=[{"element": "⿱日隹", "meaning": "dusk"}])[0].component_captions == ()
    assert several[21].component_captions == ("water 水, horse 馬",), "whose words are these"
    assert several[41].component_captions == several[61].component_captions == ()
    standing = [{**one, "position": slot} for one, slot in zip(components, ("left", "right"), strict=True)]
    said = [row.component_captions[0] for row in rows(80, kind="composed", components=standing)]
    assert set(said) == {"water 水, horse 馬", "⿰ water 水, horse 馬"}
    assert said.count("water 水, horse 馬") == pytest.approx(20, abs=12)
    assert component_names(rows(80, components=standing)) == {"⿰": "left right", "水": "water", "馬": "horse"}
    plan, plain = (batch_plan(several, size=800, component_caption_fraction=fraction) for fraction in (0.6, 0.0))
    first = torch.tensor([len(row.captions + row.component_names) for row in several])
    counts = torch.zeros(2, 3)  # of real and composed rows: by words, by components, by both
    for step in range(8):
        one, other = plan[step], plain[step]
        spelled = one.captions >= first[one.rows]
        assert (one.rows[spelled] < 40).all()
        assert torch.equal(one.captions[~spelled], other.captions[~spelled])
        assert torch.equal(one.tagged, other.tagged) and torch.equal(one.dropped, other.dropped)
        with_words = one.captions > first[one.rows]
        assert torch.equal((one.captions - first[one.rows] - 1)[with_words], other.captions[with_words])
        scored = one.reward_mask & spelled
        assert scored.any() and torch.equal(one.reward_mask, other.reward_mask), "all of it is said in either way"
        for kind in range(2):
            these = one.rows // 20 == kind
            counts[kind] += torch.stack([(these & ~spelled).sum(), (these & spelled & ~with_words).sum(),
                                         (these & with_words).sum()])
    assert counts[0].div(counts[0].sum()).tolist() == pytest.approx([0.4, 0.3, 0.3], abs=0.04)
    assert counts[1].div(counts[1].sum()).tolist() == pytest.approx([0.4, 0.6, 0.0], abs=0.04)
    required = plan.required_captions(1)
    assert required[plan[0].rows, plan[0].captions, plan[0].tagged.long()].all()


def test_which_captions_a_run_requires_is_known_before_it_begins() -> None:
    plan = batch_plan(size=8)
    required = plan.required_captions(4)
    assert not plan.required_captions(0).any()
    for step in range(4):
        one = plan[step]
        assert required[one.rows, one.captions, one.tagged.long()].all()
    assert required.sum() <= 32


COMPOSED = {"kind": "composed",
            "components": [{"element": "日", "meaning": "sun"}, {"element": "月", "meaning": "moon"}]}


@pytest.mark.parametrize("changes", [
    {}, {"tag_fraction": 0.0}, {"tag_fraction": 1.0}, {"single_component_fraction": 0.5},
    {"single_component_fraction": 1.0}, {"tag_fraction": 1.0, "single_component_fraction": 1.0},
    {"component_caption_fraction": 0.5}, {"component_caption_fraction": 1.0, "tag_fraction": 1.0},
    {"component_caption_fraction": 0.5, "single_component_fraction": 0.5},
    {"component_caption_fraction": 1.0, "single_component_fraction": 1.0}], ids=str)
@pytest.mark.parametrize("metadata", [{}, {"strokes": None}, COMPOSED, {**COMPOSED, "kind": "real"}],
                         ids=["real", "no strokes", "composed", "real of components"])
def test_a_long_run_requires_what_can_be_drawn_and_stops_to_look_when_it_has_all(
        changes: dict, metadata: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, looked_at = batch_plan(rows(**metadata), **changes), []
    noise = batch_plan_module.caption_noise
    monkeypatch.setattr(batch_plan_module, "caption_noise",
                        lambda settings, step: looked_at.append(step) or noise(settings, step))
    required = plan.required_captions(1_000_000)
    assert torch.equal(required, batch_plan_module.possible_captions(plan.table, plan.settings))
    assert len(looked_at) <= 2048
    few = plan.required_captions(3)
    drawn = torch.zeros_like(few)
    for one in (plan[step] for step in range(3)):
        drawn[one.rows, one.captions, one.tagged.long()] = True
    assert torch.equal(few, drawn)


# --- timesteps and noise ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("strategy", "below", "fraction"), [
    ("none", 400, 0.4), ("later", 400, 0.4 / 2.8), ("earlier", 600, 2.4 / 2.8), ("range", 300, 0.3 / 2.2)])
def test_a_bias_draws_the_favoured_timesteps_more_often(strategy: str, below: int, fraction: float) -> None:
    weights = timestep_weights(1000, strategy, portion=0.6, multiplier=4.0, begin=300, end=700)
    plan = batch_plan(size=64, timestep_weights=weights)
    timesteps = torch.cat([plan[step].timesteps for step in range(200)])
    assert (timesteps < below).double().mean().item() == pytest.approx(fraction, abs=0.02)
    assert timesteps.min() >= 0
    assert timesteps.max() < 1000


def test_noise_offset_shifts_whole_channels() -> None:
    shift = batch_plan(noise_offset=0.5).noise(0).noise - batch_plan().noise(0).noise
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-6)
    assert shift.std() == pytest.approx(0.5, abs=0.15)


def test_a_part_of_the_noise_is_that_of_its_samples_and_costs_no_other_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes share an update, each draws its own samples' and at most what begins or ends a block."""
    plan, whole = batch_plan(size=1000, noise_offset=0.1), batch_plan(size=1000, noise_offset=0.1).noise(7)
    drawn, randn = [], torch.randn
    monkeypatch.setattr(torch, "randn", lambda shape, **named: drawn.append(shape[0]) or randn(shape, **named))
    for part in (slice(0, 10), slice(60, 140), slice(960, 1000), slice(0, 64)):
        drawn.clear()
        found = plan.noise(7, part)
        assert torch.equal(found.noise, whole.noise[part]) and torch.equal(found.posterior, whole.posterior[part])
        assert sum(drawn) <= 3 * (part.stop - part.start + 2 * NOISE_BLOCK)  # noise, its offset, the posterior's
    assert len({one.sum().item() for one in whole.noise}) == 1000


def test_accumulation_steps_of_one_block_draw_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, drawn, randn = batch_plan(size=64), [], torch.randn
    monkeypatch.setattr(torch, "randn", lambda shape, **named: drawn.append(shape[0]) or randn(shape, **named))
    for start in range(0, 64, 4):
        plan.noise(3, slice(start, start + 4))
    assert drawn == [64, 64]


# --- what runs of before have learned from ---------------------------------------------------------------------------

def test_a_resumed_run_draws_what_it_drew_when_it_began() -> None:
    """Literal values: what changes them makes another run of every one that is resumed."""
    components = [{"element": "氵", "meaning": "water"}, {"element": "馬", "meaning": "horse"}]
    several = [*rows(4), *rows(3, kind="composed", components=components), *rows(1, kind="negative")]
    plan = batch_plan(several, seed=3, size=6, noise_offset=0.1, single_component_fraction=0.5)
    one, noise = plan[5], plan.noise(5)
    assert one.rows.tolist() == [1, 5, 4, 6, 3, 0]
    assert one.captions.tolist() == [0, 1, 0, 3, 0, 0]
    assert one.dropped.tolist() == [False, False, False, False, False, True]
    assert one.tagged.tolist() == [True, False, True, True, False, False]
    assert one.strokes.tolist() == [2, 0, 1, 3, 0, 0]
    assert one.timesteps.tolist() == [497, 914, 736, 976, 950, 33]
    assert one.reward_mask.tolist() == [False, True, True, False, False, False]
    assert noise.noise.sum().item() == pytest.approx(3.770584, abs=1e-4)
    assert noise.posterior.sum().item() == pytest.approx(6.579578, abs=1e-4)
