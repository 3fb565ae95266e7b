"""Checkpoints that are whole or not there, and that say of themselves what they hold.

A checkpoint is a folder `checkpoint-000500/` of safetensors files and one `manifest.json`, written last, with the
SHA-256 of each and of itself. It is built under a temporary name, synced to disk, renamed, read back and verified; only
then are older ones removed, and never the last good one. Nothing is pickled: safetensors loads a flipped bit without a
word, hence the digests.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from common.errors import UserError
from common.files import appearing, replacing, sha256, sync, write_text
from common.settings import differences

MANIFEST = "manifest.json"
OWN_DIGEST = "manifest_sha256"  # the manifest's digest of itself
FORMAT = 2  # of the manifest; those of format 1 are read too, and have no digest of themselves
_NAME = re.compile(r"checkpoint-(\d{6,})")
_ABANDONED = ".tmp-checkpoint-*"  # what `appearing` builds in, where a run was killed meanwhile
Tensors = dict[str, torch.Tensor]


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message says which one and why."""


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint: where it lies, its step (updates done) and what its manifest says."""

    path: Path
    step: int
    manifest: dict[str, Any]

    def tensors(self, name: str) -> Tensors:
        """Load one of its files, `name` without the ending, onto the CPU."""
        return load_file(self.path / f"{name}.safetensors")

    def has(self, name: str) -> bool:
        """Whether the checkpoint holds a file of that name."""
        return (self.path / f"{name}.safetensors").exists()


def checkpoint_name(step: int) -> str:
    """The folder's name: zero-padded, so that a listing sorts by step."""
    return f"checkpoint-{step:06d}"


def save(run_dir: Path, step: int, files: Mapping[str, Tensors], metadata: Mapping[str, Any],
         limit: int | None) -> Path:
    """Write `files` (name -> tensors) and `metadata` (JSON) as the checkpoint of `step`, then keep the newest `limit`.

    Raises OSError when the disk refuses (the temporary folder is removed, older checkpoints are untouched) and
    CheckpointError when what was written does not read back.
    """
    final = run_dir / checkpoint_name(step)
    if _is_whole(final):  # a step is a function of (seed, step): it would be written with the same content
        return final
    for abandoned in run_dir.glob(_ABANDONED):
        _remove(abandoned)
    with appearing(final) as building:  # in place of a damaged one of the same step, if any
        digests = {}
        for name, tensors in files.items():
            path = building / f"{name}.safetensors"
            _write_tensors(path, tensors)
            digests[path.name] = sha256(path)
        manifest = {"format": FORMAT, "step": step, "sha256": digests, **metadata}
        manifest[OWN_DIGEST] = _own_digest(manifest)
        write_text(building / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n", durably=True)
        sync(building)
    sync(run_dir)
    verify(final)
    if limit is not None:
        prune(run_dir, step, limit)
    return final


def verify(path: Path) -> Checkpoint:
    """Read a checkpoint's manifest and hold every file against its digest.

    Raises CheckpointError naming the file that is missing, cut, changed or not to be read.
    """
    manifest = _read_manifest(path)
    if manifest["format"] not in (1, FORMAT):
        raise CheckpointError(f"{path}: format {manifest['format']}, where this version reads up to {FORMAT}")
    if path.name != checkpoint_name(manifest["step"]):
        raise CheckpointError(f"{path}: its manifest is that of step {manifest['step']}")
    for name, digest in manifest["sha256"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path}: {name} is missing")
        try:
            found = sha256(file)
        except OSError as error:
            raise CheckpointError(f"{path}: {name} cannot be read ({error.strerror})") from None
        if found != digest:
            raise CheckpointError(f"{path}: {name} is cut or changed (its SHA-256 is not the manifest's)")
    metadata = {key: value for key, value in manifest.items() if key not in ("format", "step", "sha256")}
    return Checkpoint(path, manifest["step"], metadata)


def latest(run_dir: Path, warn: Callable[[str], None] = print) -> Checkpoint | None:
    """The newest whole checkpoint of a run, by step and not by clock; why a newer one is skipped goes to `warn`."""
    for path in reversed(listing(run_dir)):
        try:
            return verify(path)
        except CheckpointError as error:
            warn(f"skipping a damaged checkpoint: {error}")
    return None


def listing(run_dir: Path) -> list[Path]:
    """The folders named as checkpoints are, oldest step first; nothing is said of what they hold."""
    found = [(int(match[1]), path) for path in run_dir.glob("checkpoint-*")
             if (match := _NAME.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found)]


def prune(run_dir: Path, newest: int, limit: int) -> None:
    """Of the checkpoints up to step `newest`, which was just verified, keep the last `limit` (at least that one).

    What bears a later step is left alone: it may be damaged, and must not count for the one that is kept.
    """
    until = run_dir / checkpoint_name(newest)
    known = listing(run_dir)
    for path in known[: known.index(until) + 1][: -max(1, limit)]:
        _remove(path)


def require_same_settings(found: Checkpoint, settings: Mapping[str, Any],
                          provenance: Mapping[str, Any] | None = None) -> None:
    """Raise CheckpointError, naming what differs, where a checkpoint comes of other settings or another provenance.

    settings: those that must not differ between a run and its continuation, by the names that the manifest has for
    them; provenance: the manifest's own entries, such as the hash of the dataset.
    """
    differing = differences(found.manifest["settings"], settings)
    differing += [f"{name}: was {found.manifest.get(name)}, is {value}" for name, value in (provenance or {}).items()
                  if found.manifest.get(name) != value]
    if differing:
        raise CheckpointError(f"{found.path} was made with other settings:\n  " + "\n  ".join(differing) +
                              "\nUse those to resume, or name another --output_dir to start afresh.")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """An optimizer's state as flat tensors, `"<parameter>.<name>"`; hyper-parameters are settings, not state."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value)
            for index, entry in state.items() for name, value in entry.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put back what `optimizer_tensors` gave, onto the devices of the parameters and in their memory layout.

    The layout matters: fused AdamW walks weight and moments in the order of memory and does not ask whether both are
    channels_last, so moments in another layout would be applied to the wrong weights, in silence.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        weight = weights[int(index)]
        if tensor.shape == weight.shape:
            tensor = torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _is_whole(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _read_manifest(path: Path) -> dict[str, Any]:
    """A checkpoint's manifest, held against its digest of itself. Raises CheckpointError."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf8"))
        if manifest["format"] != 1 and manifest.pop(OWN_DIGEST) != _own_digest(manifest):
            raise ValueError("it was changed: its SHA-256 is another")
        return {**manifest, "step": int(manifest["step"]), "sha256": dict(manifest["sha256"])}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: {MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path}: {MANIFEST} cannot be read ({error})") from None


def _own_digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _write_tensors(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file, whole and on disk when this returns, or not at all. Raises OSError."""
    with replacing(path, durably=True) as temporary:
        save_file({key: tensor.detach().contiguous().cpu() for key, tensor in tensors.items()}, temporary)


def _remove(path: Path) -> None:
    """Remove a checkpoint folder so that a half-removed one can never pass for whole: its manifest goes first."""
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
