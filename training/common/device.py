"""Where to compute, and in which precision: bf16 where the processor has instructions for it, another elsewhere."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from common.errors import UserError

CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # as torch.cpu.get_capabilities names x86's two and ARM's


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is the faster one there. A CPU without instructions for it imitates them, twenty times slower, as
    does a GPU older than NVIDIA's Ampere."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in CPU_INSTRUCTIONS)


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Around what may be computed in bf16, where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device))


def autocast_on_gpu(device: torch.device) -> AbstractContextManager[None]:
    """Around what is drawn for a user: in bf16 on a GPU that has it, and in fp32 on a CPU, as ever."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" and has_bf16(device))


def choose_device(name: str) -> torch.device:
    """The device of a setting `cpu`, `cuda` or `auto`. Raises UserError where a GPU is asked for and not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU can be used here (torch.cuda.is_available() is false). "
                        "Leave the flag out to use the CPU.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move a CPU tensor without waiting for the device: from pinned memory, or the copy would wait for its queue."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def machine_name(device: torch.device) -> str:
    """What computes there, in words: the GPU, or the CPU and its cores that this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor_name()}, {cores} {'core' if cores == 1 else 'cores'}"


def processor_name() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
