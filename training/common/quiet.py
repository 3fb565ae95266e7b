"""Keeps known noise of the libraries off the screen: each message by name, so that a new one is still seen."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # "Writing model shards: 1/1" and the like
_KNOWN_NOISE = (
    "requires torchvision (not installed)",  # image processors that nothing here uses
    "passed `text_encoder` of type",
    "Expected types for text_encoder",  # diffusers on a text encoder that is not CLIP: ours is BERT by design
    "You have disabled the safety checker",
    "`torch_dtype` is deprecated",
    "that should be kept in float32: []",  # an empty list is nothing to warn of
    "part of your input was truncated",  # said of a whole batch, padding included, for each of a set's captions
)


_UNUSED_TENSORS = "pooler."  # MiniLM's pooling layer, which is in its own file, in no file of ours, and never used


class _KnownNoise(logging.Filter):
    """Lets everything else pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(text in message for text in _KNOWN_NOISE) and not _reports_unused_tensors_alone(message)


def _reports_unused_tensors_alone(message: str) -> bool:
    """Whether it is transformers' report of what it loaded, a table with a line for each tensor, of nothing else."""
    if "LOAD REPORT" not in message:
        return False
    _, *tensors = re.findall(r"^(\S.*?) *\|", message, re.MULTILINE)  # after the heading
    return bool(tensors) and all(name.startswith(_UNUSED_TENSORS) for name in tensors)


@contextmanager
def known_noise_off() -> Iterator[None]:
    """Leave out the known messages, from the two libraries' log handlers and from `warnings`."""
    import diffusers.utils.logging
    import transformers.utils.logging

    diffusers.utils.logging.disable_progress_bar()  # "Loading pipeline components: 5/5"; ours show the long work
    transformers.utils.logging.disable_progress_bar()  # "Loading weights", "Writing model shards"
    handlers = [handler for library in (diffusers, transformers)
                for handler in library.utils.logging.get_logger().handlers]  # the library's own, which this sets up
    noise = _KnownNoise()
    for handler in handlers:
        handler.addFilter(noise)
    try:
        with warnings.catch_warnings():
            for text in _KNOWN_NOISE:
                warnings.filterwarnings("ignore", message=f".*{re.escape(text)}")
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(noise)
