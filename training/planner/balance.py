"""What keeps plans apart: components and pairs that too many words would have are held back."""

from __future__ import annotations

import torch

from planner.arrange import PairTable
from planner.components import Components
from planner.network import PlannerNetwork

MAX_FRACTION = 0.04  # of the plans of WordNet's nouns that one component may stand in
MAX_PAIR_FRACTION = 0.0015  # of the plans of familiar nouns that may be one pair
ROUNDS = 60
STEP, PAIR_STEP = 0.05, 0.1  # by which a component or a pair of e times too many is held back further in each round


@torch.no_grad()
def balance(network: PlannerNetwork, embeddings: torch.Tensor) -> None:
    """Hold components back that are among the best two of too many of the embeddings (N, 384)."""
    network.balance.zero_()
    scores = torch.cat([network(batch) for batch in embeddings[::8].split(2048)])
    for _ in range(ROUNDS):
        best = (scores - network.balance).topk(min(2, scores.shape[1])).indices.flatten()
        fraction = torch.bincount(best, minlength=scores.shape[1]) / len(scores)
        network.balance += STEP * (fraction / MAX_FRACTION).clamp_min(1.0).log()


@torch.no_grad()
def pair_penalties(network: PlannerNetwork, components: Components, embeddings: torch.Tensor) -> dict[str, float]:
    """What is taken from the worth of pairs that too many of the embeddings (N, 384) would have, by their two forms."""
    table = PairTable(components, network.first_name_likeness(), {})
    scores = torch.cat([network(batch) for batch in embeddings.split(2048)])
    count, penalties = len(components.forms), {}
    for _ in range(ROUNDS):
        first, second = table.best(scores)[1][:, 0].sort(dim=1).values.T
        fraction = torch.bincount(first * count + second, minlength=count * count).view(count, count) / len(scores)
        for one, other in (fraction > MAX_PAIR_FRACTION).nonzero().tolist():
            step = PAIR_STEP * float((fraction[one, other] / MAX_PAIR_FRACTION).log())
            table.add((one, other), -step)
            pair = "".join(sorted(components.forms[one] + components.forms[other]))
            penalties[pair] = penalties.get(pair, 0.0) + step
    return {pair: round(penalty, 3) for pair, penalty in sorted(penalties.items())}
