"""From words to what the model is asked for: which models are planned for, and the plan of each image.

A model that was trained on kanji knows some hundred components by name and little else. So a planner turns the words
into components; the image's noise still comes from the words themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from common.characters import shortened
from common.quiet import known_noise_off
from dataset.captions import spelled_components
from generation.drawn_components import DrawnComponents
from generation.request import ImageRequest, part_names
from generation.settings import GenerateConfig, PlanningSettings
from models.families import Tiny, family_of
from planner.plan import Plan
from planner.planner import NAMES_FILE, PLANNER_WEIGHTS, Planner

with known_noise_off():
    from diffusers import StableDiffusionPipeline

MAX_PLANS = 4  # of some words, among which images and candidates are divided
GOOD_PLAN = 0.85  # a further plan is good where its confidence is at least this fraction of the first's
RANK_DISCOUNT = 0.9  # of 0.7 nothing is left of the gain, of 1 every tenth plan is another word's too


def find_planner(settings: PlanningSettings, pipeline: StableDiffusionPipeline,
                 say: Callable[[str], object] = print) -> Planner | None:
    """What plans under these settings; None, which is said, where words are drawn as they are.

    Raises PlannerError where a planner is needed and cannot be had.
    """
    if settings.plan == "off":
        return None
    given = isinstance(settings, GenerateConfig) and settings.parts is not None
    if settings.plan == "auto" and not given and not knows_components(settings.model, pipeline):
        say("the words are drawn as they are: this model was not trained on kanji (--plan on plans all the same)")
        return None
    return Planner.load(PLANNER_WEIGHTS, NAMES_FILE)


def knows_components(model: str, pipeline: StableDiffusionPipeline) -> bool:
    """Whether a model was trained on kanji: a run says so in its config.json; of others the embedded base was."""
    try:
        stored = json.loads((Path(model) / "config.json").read_text(encoding="utf8")).get("kanji")
    except (OSError, ValueError, AttributeError):  # no run, or one that says nothing
        stored = None
    return stored if isinstance(stored, bool) else isinstance(family_of(pipeline), Tiny)


def plan_requests(requests: Sequence[ImageRequest], planner: Planner | None, settings: PlanningSettings,
                  say: Callable[[str], object] = print) -> list[ImageRequest]:
    """The requests with their plans. The seed decides which of several good plans an image has: seed 0 the first.

    Said of words: that nothing can be planned for them, or that no plan keeps to the strokes asked for. Raises
    PlannerError where --parts names what does not exist.
    """
    if planner is None:
        return list(requests)
    drawn = DrawnComponents.of_model(settings.model)
    plans: dict[tuple[str, int | None], list[Plan]] = {}
    for request in requests:
        asked = request.words, request.strokes
        if asked not in plans:
            plans[asked] = _plans(planner, request, settings, drawn)
            if problem := _problem(request, plans[asked]):
                say(problem)
    return [_with_plan(request, plans[request.words, request.strokes]) for request in requests]


def _plans(planner: Planner, request: ImageRequest, settings: PlanningSettings,
           drawn: DrawnComponents | None) -> list[Plan]:
    if spelled := Plan.spelled(request.words):
        return [spelled]
    if isinstance(settings, GenerateConfig) and settings.parts is not None:
        return [planner.given(part_names(settings.parts), request.words)]
    if spelled_components(request.words)[1]:  # behind other words: they are drawn as they stand
        return []
    return best_drawn_first(planner.plans(request.words, MAX_PLANS, settings.novel, request.strokes), drawn)


def best_drawn_first(plans: Sequence[Plan], drawn: DrawnComponents | None) -> list[Plan]:
    """Plans, the best first, with the good ones in the order of what is likely to be drawn of them.

    By rank each has to be drawn so much better than the one before it: the planner's order keeps plans apart.
    """
    if drawn is None or not plans or plans[0].source == "kanji":
        return list(plans)
    good = good_plans(plans)
    order = sorted(range(len(good)), key=lambda rank: -drawn.probability_of(good[rank]) * RANK_DISCOUNT**rank)
    return [good[rank] for rank in order] + [plan for plan in plans if not any(plan is one for one in good)]


def _with_plan(request: ImageRequest, plans: Sequence[Plan]) -> ImageRequest:
    """The request with one of the plans, the best first: its seed's among the good ones, and the others after it.

    An existing kanji is drawn for its meaning and nothing else is.
    """
    if not plans:
        return request
    if plans[0].source == "kanji":
        return replace(request, plan=plans[0])
    good = good_plans(plans)
    own = good[request.seed % len(good)]
    return replace(request, plan=own, other_plans=tuple(plan for plan in plans if plan is not own))


def good_plans(plans: Sequence[Plan]) -> list[Plan]:
    """Of plans those that are nearly as good as the best, which is the first of them or nearly as good as that."""
    best = max(map(_worth, plans), default=0.0)
    return [plan for plan in plans if plan is plans[0] or _worth(plan) >= GOOD_PLAN * best]


def _worth(plan: Plan) -> float:
    return sum(one.confidence for one in plan.components) / max(1, len(plan.components))


def _problem(request: ImageRequest, plans: Sequence[Plan]) -> str | None:
    """What is to be said of a plan before it is drawn, if anything."""
    shown = shortened(request.words)
    if not plans and spelled_components(request.words)[1]:
        return None
    if not plans:
        return f"{shown}: nothing can be planned for these words; they are drawn as they are"
    if request.strokes is not None and plans[0].strokes > request.strokes:
        return (f"{shown}: {request.strokes} strokes are too few for its plan; the nearest that is possible has about "
                f"{plans[0].strokes}")
    return None
