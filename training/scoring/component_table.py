"""How well a model draws each component: pairs that go together are drawn, and read by the control judge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from common.device import choose_device
from common.seeds import Purpose, generator
from common.settings import setting
from common.stop_signals import StopSignals
from generation.best_of import draw_candidates
from generation.check import found_components
from generation.drawn_components import DrawnComponents
from generation.request import ImageRequest
from generation.settings import SamplingSettings
from models.pipelines import load_model
from planner.arrange import best_arrangement, plan_of
from planner.exclusions import held_out_pair_forms
from planner.planner import Planner
from recogniser.judge import CONTROL, Judge

MIN_FIT = -6.0  # log-probability of two components' slots, from which on they go together
AT_ONCE = 64  # images, between two looks at a stop signal


@dataclass(frozen=True, kw_only=True)
class ComponentTableConfig(SamplingSettings):
    """Settings of the measurement."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder, whose held-out pairs are not drawn."""
    images: int = setting(4, at_least=1)
    """Images that begin with each component; another is chosen to stand beside it, so each has about twice as many."""


def measure_components(config: ComponentTableConfig, stop: StopSignals) -> Path:
    """Draw, read and write the table beside the model; returns its path.

    Raises ModelError, PlannerError or JudgeError where one of these cannot be had, and Stopped.
    """
    device = choose_device(config.device)
    requests = pair_requests(Planner.load(names=None), held_out_pair_forms(config.train_data_dir), config.images,
                             config.seed)
    judge = Judge.load(CONTROL, dataset=None)
    pipeline = load_model(config.model, config.revision).to(device)
    asked, found = Counter(), Counter()
    for start in tqdm(range(0, len(requests), AT_ONCE), desc="measuring", unit="batch"):
        batch = requests[start:start + AT_ONCE]
        images = [candidates[0].image for candidates in draw_candidates(pipeline, batch, config)]
        for request, reading in zip(batch, judge.read(images, [request.drawn_words for request in batch]), strict=True):
            asked.update(one.form for one in request.plan.components)
            found.update(one.form for one in found_components(request.plan, reading))
        stop.check()
    return DrawnComponents(asked, found).save(config.model)


def pair_requests(planner: Planner, forbidden: frozenset[str], images: int, seed: int) -> list[ImageRequest]:
    """So many images for each component, beside others in whose company real kanji have such as these.

    No pair is an existing kanji's or forbidden (by the two forms in code point order).
    """
    known, rng = planner.components, generator(seed, 0, Purpose.ROWS)
    requests = []
    for index, form in enumerate(known.forms):
        worth, chosen = planner.pairs.worth[index], []
        for other in torch.randperm(len(known.forms), generator=rng).tolist():
            arrangement = best_arrangement(known, index, other) if worth[other].isfinite() else None
            if (arrangement is not None and arrangement.fit >= MIN_FIT
                    and "".join(sorted(form + known.forms[other])) not in forbidden):
                chosen.append(arrangement)
            if len(chosen) == images:
                break
        for arrangement in chosen:
            plan = plan_of("", known, arrangement, [1.0] * len(known.forms), "given")
            requests.append(ImageRequest(plan.prompt, None, seed, "", plan))
    return requests
