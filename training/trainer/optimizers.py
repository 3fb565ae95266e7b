"""What turns gradients into an update: AdamW, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from common import checkpoints
from common.device import has_bf16
from common.quiet import known_noise_off
from trainer.config import TrainConfig

with known_noise_off():
    from accelerate import Accelerator

MUON_MOMENTUM = 0.95  # the decay of its momentum, as Muon's author has it


class Optimizers:
    """The optimizer of `--optimizer`, behind one step; its state is a file of a checkpoint for each that takes part.

    Muon (Keller Jordan 2024; torch.optim.Muon) makes the update of a matrix orthogonal, so that what few samples ask
    for weighs as much as what many do. A convolution's kernel (out, in, h, w) is the matrix (out, in h w). Its rate is
    scaled to the size of AdamW's updates (arXiv 2502.16982), so that one learning rate serves both.
    """

    def __init__(self, weights: Mapping[str, torch.nn.Parameter], is_matrix: Callable[[str, torch.Tensor], bool],
                 config: TrainConfig, accelerator: Accelerator) -> None:
        """Take the trained weights by name, on their device.

        Under Muon those of which `is_matrix` says so are Muon's, which must lie in memory as matrices do.
        """
        self.weights, self.accelerator = list(weights.values()), accelerator
        kernels = {name: weight for name, weight in weights.items()
                   if config.optimizer == "muon" and is_matrix(name, weight)}
        self.adamw = torch.optim.AdamW(
            [weight for name, weight in weights.items() if name not in kernels], lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2), weight_decay=config.adam_weight_decay,
            eps=config.adam_epsilon, fused=True)
        self.prepared = accelerator.prepare_optimizer(self.adamw)
        self.matrices = [(kernel, torch.nn.Parameter(kernel.detach().view(len(kernel), -1)))
                         for kernel in kernels.values()]
        muon = torch.optim.Muon if has_bf16(accelerator.device) else _Fp32Muon
        self.muon = muon(
            [matrix for _, matrix in self.matrices], lr=config.learning_rate, weight_decay=config.adam_weight_decay,
            momentum=MUON_MOMENTUM, adjust_lr_fn="match_rms_adamw") if kernels else None

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return self.adamw.param_groups[0]["lr"]

    def step(self, learning_rate: float, norm: torch.Tensor) -> None:
        """Apply the gradients at a rate and drop or clear them. Where their `norm` is not finite nothing changes.

        AdamW does not wait for the device to know: fused, it reads a flag there, which under fp16 is the gradient
        scaler's. Muon has no such flag and waits.
        """
        if self.accelerator.scaler is None:
            self.adamw.found_inf = (~torch.isfinite(norm)).float()
        for optimizer in self._by_file().values():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        self.prepared.step()
        if self.muon is not None and torch.isfinite(norm):
            for kernel, matrix in self.matrices:
                matrix.grad = kernel.grad.flatten(1)
            self.muon.step()
            self.muon.zero_grad(set_to_none=True)
        if self.accelerator.num_processes > 1:  # they are views of the buckets in which they are shared: to be kept
            torch._foreach_zero_([weight.grad for weight in self.weights])
            return
        for weight in self.weights:
            weight.grad = None

    def files(self) -> dict[str, checkpoints.Tensors]:
        """The state as the tensors of a checkpoint's files."""
        return {name: checkpoints.optimizer_tensors(optimizer) for name, optimizer in self._by_file().items()}

    def read(self, checkpoint: checkpoints.Checkpoint) -> dict[str, checkpoints.Tensors]:
        """What `files` gave to a checkpoint; nothing changes yet."""
        return {name: checkpoint.tensors(name) for name in self._by_file()}

    def load(self, files: Mapping[str, checkpoints.Tensors]) -> None:
        """Put the state back."""
        for name, optimizer in self._by_file().items():
            checkpoints.load_optimizer_tensors(optimizer, files[name])

    def _by_file(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self.adamw} | ({} if self.muon is None else {"muon": self.muon})


class _Fp32Muon(torch.optim.Muon):
    """torch's Muon, which makes its updates orthogonal in bf16 alone, for processors where that is the slower one."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Apply the gradients."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                average = state["momentum_buffer"]
                average.lerp_(matrix.grad, 1.0 - momentum)
                update = _orthogonal(matrix.grad.lerp(average, momentum), group)
                matrix.mul_(1.0 - rate * group["weight_decay"])
                matrix.add_(update, alpha=-rate * 0.2 * max(matrix.shape) ** 0.5)  # match_rms_adamw


def _orthogonal(update: torch.Tensor, group: Mapping[str, Any]) -> torch.Tensor:
    """The nearest orthogonal matrix, roughly: Newton and Schulz's iteration, whose factors the group has."""
    a, b, c = group["ns_coefficients"]
    is_tall = update.size(0) > update.size(1)
    x = update.T if is_tall else update
    x = x / x.norm().clamp_min(group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
