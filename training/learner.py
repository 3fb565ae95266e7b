"""What is learned: the weights in training, their optimizer and their average, which together are a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel

import checkpoints
from config import TrainConfig
from learning_rate import learning_rate

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # the attention's projections, as diffusers' LoRA script has them


class Learner:
    """A UNet with all that its training changes."""

    def __init__(self, unet: UNet2DConditionModel, config: TrainConfig, accelerator: Accelerator) -> None:
        """Prepare `unet` for training on the accelerator's device; trained weights are kept in fp32."""
        self.config, self.accelerator, self.unet = config, accelerator, unet
        unet.requires_grad_(config.lora_rank is None)
        if config.lora_rank is not None:
            _add_lora(unet, config.lora_rank, config.seed)
        unet.to(accelerator.device, memory_format=torch.channels_last).train()
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        self.trained = {name: weight for name, weight in unet.named_parameters() if weight.requires_grad}
        adamw = torch.optim.AdamW(
            self.trained.values(), lr=config.learning_rate, betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.adam_weight_decay, eps=config.adam_epsilon, fused=True)
        self.optimizer = accelerator.prepare_optimizer(adamw)
        self.ema = EMAModel(list(self.trained.values()), decay=config.ema_decay, foreach=True) if config.use_ema else None
        self.forward = self._wrapped()

    def update(self, step: int) -> torch.Tensor:
        """Apply the gathered gradients as update number `step`; returns the gradients' norm, on the device."""
        norm = self.accelerator.clip_grad_norm_(self.trained.values(), self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.step(self.trained.values())
        return norm

    @contextmanager
    def averaged(self) -> Iterator[UNet2DConditionModel]:
        """The UNet in evaluation with its averaged weights; the ones in training come back afterwards."""
        live = [weight.detach().clone() for weight in self.trained.values()] if self.ema is not None else []
        if self.ema is not None:
            self.ema.copy_to(self.trained.values())
        self.unet.eval()
        try:
            yield self.unet
        finally:
            self.unet.train()
            with torch.no_grad():
                for weight, kept in zip(self.trained.values(), live, strict=bool(live)):
                    weight.copy_(kept)

    def files(self) -> dict[str, checkpoints.Tensors]:
        """The tensors of a checkpoint."""
        files = {"unet": {name: weight.detach() for name, weight in self.trained.items()},
                 "optimizer": checkpoints.optimizer_tensors(self.optimizer.optimizer)}
        if self.ema is not None:
            files["ema"] = dict(zip(self.trained, self.ema.shadow_params, strict=True))
        return files

    def facts(self) -> dict[str, object]:
        """What a checkpoint's manifest says of it beyond tensors: the loss scale, under fp16."""
        scaler = self.accelerator.scaler
        return {"grad_scaler": scaler.state_dict()} if scaler is not None else {}

    def load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go back to a checkpoint. All files are read before any weight changes."""
        weights, moments = checkpoint.tensors("unet"), checkpoint.tensors("optimizer")
        average = checkpoint.tensors("ema") if self.ema is not None else {}
        if weights.keys() != self.trained.keys():
            raise checkpoints.CheckpointError(f"{checkpoint.path}: holds other weights than this base has")
        with torch.no_grad():
            for name, weight in self.trained.items():
                weight.copy_(weights[name])
            for shadow, name in zip(self.ema.shadow_params if self.ema else [], average and self.trained, strict=True):
                shadow.copy_(average[name])
        checkpoints.load_optimizer_tensors(self.optimizer.optimizer, moments)
        if self.ema is not None:
            self.ema.optimization_step = checkpoint.step
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.facts["grad_scaler"])

    def _wrapped(self) -> torch.nn.Module:
        """The UNet as the loop calls it: shared between processes, compiled."""
        forward: torch.nn.Module = self.unet
        if self.accelerator.num_processes > 1:
            on_gpu = self.accelerator.device.type == "cuda"
            forward = torch.nn.parallel.DistributedDataParallel(
                forward, device_ids=[self.accelerator.device.index] if on_gpu else None)
        return torch.compile(forward) if self.config.compile else forward


def _add_lora(unet: UNet2DConditionModel, rank: int, seed: int) -> None:
    from peft import LoraConfig

    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the adapter's first weights are part of the run
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian",
                                    target_modules=list(LORA_TARGETS)))
