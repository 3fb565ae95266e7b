"""What torch is told by the environment before it is loaded, where the user has not told it something else."""

from __future__ import annotations

import os
import runpy

import pytest

import common.torch_environment

ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # the new name and the old one


@pytest.mark.parametrize(("users", "expected"), [
    ({}, (None, "expandable_segments:True")),
    ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, (None, "max_split_size_mb:64")),
    ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, ("max_split_size_mb:64", None))])
def test_the_gpus_memory_grows_in_segments_unless_the_user_wants_otherwise(
        users: dict[str, str], expected: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    runpy.run_path(common.torch_environment.__file__)
    found = tuple(os.environ.get(name) for name in ALLOCATOR)
    os.environ.pop("PYTORCH_CUDA_ALLOC_CONF", None)  # what it set is not monkeypatch's to put back
    assert found == expected
