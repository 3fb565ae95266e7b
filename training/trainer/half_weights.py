"""A network that computes with a kept copy of the weights in half precision, which an update renews at once.

Autocast casts every fp32 weight anew in every pass, hundreds of small operations each way. Here they are cast once an
update, all together. What is computed is the same, and so are the gradients: those of a weight in half precision are in
half precision under autocast too.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.nn.modules.conv import _ConvNd

LOWERED = (torch.nn.Linear, _ConvNd)  # layers that autocast computes in half precision, weights and biases


class HalfWeights:
    """A network beside `master`, whose fp32 weights stay those that are updated, averaged and saved."""

    def __init__(self, master: torch.nn.Module, dtype: torch.dtype) -> None:
        """Copy `master` where it lies: 2 bytes a weight. Norms stay fp32 and are the master's own parameters."""
        self.network = deepcopy(master)
        pairs = []
        for module, copy in zip(master.modules(), self.network.modules(), strict=True):
            if isinstance(module, LOWERED):
                copy.to(dtype)
                pairs += zip(module.parameters(recurse=False), copy.parameters(recurse=False), strict=True)
            else:
                for name, weight in module.named_parameters(recurse=False):
                    setattr(copy, name, weight)
        self.masters, self.copies = map(list, zip(*pairs, strict=True))

    @torch.no_grad()
    def renew(self) -> None:
        """Take over the master's weights as they are now."""
        torch._foreach_copy_(self.copies, self.masters)

    @torch.no_grad()
    def hand_over_gradients(self) -> None:
        """Add the gradients of one backward pass, which are in half precision, to the master's in fp32; drop them."""
        pairs = [(master, copy) for master, copy in zip(self.masters, self.copies, strict=True)
                 if copy.grad is not None]
        combine = torch._foreach_add_
        if self.masters[0].grad is None:  # the first pass of an update
            combine = torch._foreach_copy_
            for master, _ in pairs:
                master.grad = torch.empty_like(master)
        combine([master.grad for master, _ in pairs], [copy.grad for _, copy in pairs])
        for _, copy in pairs:
            copy.grad = None
