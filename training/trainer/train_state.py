"""What is learned: the weights in training, their optimizer and their average, which together are a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

from common import checkpoints
from common.quiet import known_noise_off
from models.families import Family
from trainer.config import TrainConfig
from trainer.half_weights import HalfWeights
from trainer.learning_rate import learning_rate
from trainer.optimizers import Optimizers

with known_noise_off():
    from accelerate import Accelerator
    from accelerate.utils import DDPCommunicationHookType, DistributedDataParallelKwargs
    from diffusers import UNet2DConditionModel
    from diffusers.training_utils import EMAModel, cast_training_params

PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TrainState:
    """A UNet with all that its training changes."""

    def __init__(self, unet: UNet2DConditionModel, family: Family, config: TrainConfig,
                 accelerator: Accelerator) -> None:
        """Prepare `unet` for training on the accelerator's device; trained weights are kept in fp32.

        What computes is `network`: the UNet itself, or its copy in half precision.
        """
        self.config, self.accelerator, self.unet = config, accelerator, unet
        unet.requires_grad_(config.lora_rank is None)
        if config.lora_rank is not None:
            _add_lora(unet, family.lora_targets, config)
        family.prepare(unet, accelerator.device, config.resolution, as_matrices=config.optimizer == "muon")
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        self.trained = {name: weight for name, weight in unet.named_parameters() if weight.requires_grad}
        self.optimizers = Optimizers(self.trained, family.is_matrix, config, accelerator)
        self.ema = EMAModel(self.trained.values(), decay=config.ema_decay) if config.use_ema else None
        self.half = HalfWeights(unet, PRECISIONS[config.mixed_precision]) if _casts_once(config) else None
        self.network = unet if self.half is None else self.half.network
        self.compiled = torch.compile(self.network, mode=config.compile_mode) if config.compile else None
        self.forward = self._wrapped()

    @contextmanager
    def accumulate(self, last: bool) -> Iterator[None]:
        """Around the passes of one accumulation step: processes share their gradients in the last one only."""
        with nullcontext() if last or self.accelerator.num_processes == 1 else self.forward.no_sync():
            yield
        if self.half is not None:
            self.half.hand_over_gradients()

    def update(self, step: int) -> torch.Tensor:
        """Apply the accumulated gradients as update number `step`; returns the gradients' norm, on the device.

        Where that is not finite the update changes nothing.
        """
        norm = self.accelerator.clip_grad_norm_(self.trained.values(), self.config.max_grad_norm)
        self.optimizers.step(learning_rate(self.config, step), norm)
        if self.half is not None:
            self.half.renew()
        if self.ema is not None:
            self._average()
        return norm

    @torch.no_grad()
    def _average(self) -> None:
        """EMAModel.step in one pass over the weights and without a copy of them."""
        self.ema.optimization_step += 1
        decay = self.ema.get_decay(self.ema.optimization_step)
        torch._foreach_lerp_(self.ema.shadow_params, list(self.trained.values()), 1.0 - decay)

    @contextmanager
    def averaged(self) -> Iterator[UNet2DConditionModel]:
        """The UNet in evaluation with its averaged weights; the ones in training come back afterwards.

        The two are swapped, so no memory is needed. Not to be broken into by a signal: defer it around this.
        """
        self._swap()
        self.unet.eval()
        try:
            yield self.unet
        finally:
            self.unet.train()
            self._swap()

    def _swap(self) -> None:
        for shadow, weight in zip(self.ema.shadow_params if self.ema else (), self.trained.values(), strict=False):
            shadow.data, weight.data = weight.data, shadow.data

    def not_finite(self) -> str | None:
        """The name of a trained weight that is not finite throughout, if any: its loss would have told a step later."""
        norms = torch.stack([norm.cpu() for norm in torch._foreach_norm(list(self.trained.values()), float("inf"))])
        return next((name for name, norm in zip(self.trained, norms, strict=True) if not norm.isfinite()), None)

    def files(self) -> dict[str, checkpoints.Tensors]:
        """The tensors of a checkpoint."""
        files = {"unet": {name: weight.detach() for name, weight in self.trained.items()}, **self.optimizers.files()}
        if self.ema is not None:
            files["ema"] = dict(zip(self.trained, self.ema.shadow_params, strict=True))
        return files

    def manifest(self) -> dict[str, object]:
        """What a checkpoint's manifest says of it beyond tensors: the loss scale, under fp16."""
        scaler = self.accelerator.scaler
        return {"grad_scaler": scaler.state_dict()} if scaler is not None else {}

    def load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go back to a checkpoint. All files are read before any weight changes."""
        weights, moments = checkpoint.tensors("unet"), self.optimizers.read(checkpoint)
        averages = checkpoint.tensors("ema") if self.ema is not None else weights
        if not weights.keys() == averages.keys() == self.trained.keys():
            raise checkpoints.CheckpointError(f"{checkpoint.path}: holds other weights than this base has")
        with torch.no_grad():
            for index, (name, weight) in enumerate(self.trained.items()):
                weight.copy_(weights[name])
                if self.ema is not None:
                    self.ema.shadow_params[index].copy_(averages[name])
        if self.half is not None:
            self.half.renew()
        self.optimizers.load(moments)
        if self.ema is not None:
            self.ema.optimization_step = checkpoint.step
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.manifest["grad_scaler"])

    def _wrapped(self) -> torch.nn.Module:
        """The network as the loop calls it: compiled where asked for, shared between processes."""
        forward = self.network if self.compiled is None else self.compiled
        if self.accelerator.num_processes > 1:
            on_gpu = self.accelerator.device.type == "cuda"
            forward = torch.nn.parallel.DistributedDataParallel(
                forward, device_ids=[self.accelerator.device.index] if on_gpu else None,
                gradient_as_bucket_view=True)  # or the buckets cost 4 bytes a weight more
            compression = DDPCommunicationHookType(self.config.compress_gradients)
            DistributedDataParallelKwargs(comm_hook=compression).register_comm_hook(forward)
        return forward


def _casts_once(config: TrainConfig) -> bool:
    """Whether the network computes with a kept copy of the weights."""
    return config.half_weights and config.mixed_precision != "no"


def _add_lora(unet: UNet2DConditionModel, targets: Sequence[str], config: TrainConfig) -> None:
    """Add the adapter in fp32 to a base that is kept in the precision of the arithmetic: it is never updated."""
    from peft import LoraConfig

    with known_noise_off():
        unet.to(PRECISIONS[config.mixed_precision])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # the adapter's first weights are part of the run
        unet.add_adapter(LoraConfig(r=config.lora_rank, lora_alpha=config.lora_rank, init_lora_weights="gaussian",
                                    target_modules=list(targets)))
    cast_training_params(unet, torch.float32)
