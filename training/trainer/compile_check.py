"""torch.compile is held against the plain UNet before it trains anything.

A compiled network can be wrong in silence: under torch 2.13 on a CPU with bf16 autocast, the compiled UNet of the
embedded base gave every attention weight a gradient of exactly zero while its loss looked right, and the model learned
to draw but not to listen. One batch through both shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from common.errors import UserError

MAX_DIFFERENCE = 0.2  # of a weight's gradient, as a fraction of its norm; bf16 alone makes a few hundredths
NEGLIGIBLE = 1e-4  # of the whole gradient's norm: below it a weight's own gradient is rounding


class CompileError(UserError):
    """A compiled network whose gradients are not the plain one's; the message says what to do."""


def refuse_other_gradients(loss_of: Callable[[torch.nn.Module], torch.Tensor], plain: torch.nn.Module,
                           compiled: torch.nn.Module, trained: Mapping[str, torch.nn.Parameter]) -> None:
    """Raise CompileError where one batch's gradients differ between `plain` and `compiled`, which share `trained`.

    loss_of: the scalar loss of one and the same batch through a network. The weights are left without gradients.
    """
    expected = _gradients(loss_of(plain), trained)
    found = _gradients(loss_of(compiled), trained)
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        size = gradient.norm()
        if size > NEGLIGIBLE * whole and (found[name] - gradient).norm() > MAX_DIFFERENCE * size:
            raise CompileError(
                f"--compile: on this machine the compiled UNet gives {name} another gradient than the plain one (norm "
                f"{found[name].norm().item():.3g} for {size.item():.3g}), so it would learn something else. Leave "
                "--compile out.")


def _gradients(loss: torch.Tensor, trained: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    loss.backward()
    gradients = {name: torch.zeros_like(weight) if weight.grad is None else weight.grad.float()
                 for name, weight in trained.items()}
    for weight in trained.values():
        weight.grad = None
    return gradients
