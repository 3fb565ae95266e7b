"""The recogniser: from a glyph to its components with their slots, its strokes, and how well it is formed.

A plain residual network sees 64 px of ink. Each slot (left, right, top, ...) has a query that gathers what stands
there, and one table of component embeddings serves all slots: so 月 learned on the right is known on the left too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from common.errors import UserError
from common.files import replacing, write_text
from recogniser.labels import MAX_STROKES, NONE, SLOTS, Vocabulary

SIDE = 64  # px, the side of what the network sees
REDUCTION = 8  # from pixels to positions of the last feature map
COSINE_SCALE = 16.0  # logits are cosines times this
WEIGHTS, LABELS, METADATA = "recogniser.safetensors", "labels.json", "recogniser.json"


class RecogniserError(UserError):
    """A recogniser's folder that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Shape:
    """The size of a recogniser."""

    widths: tuple[int, int, int] = (32, 64, 160)
    """Channels at a half, a quarter and an eighth of the image's side."""
    depths: tuple[int, int, int] = (1, 2, 3)
    """Residual blocks at each."""
    embedding: int = 128
    """Width of the component embeddings and of the glyph's own embedding."""
    block: Literal["plain", "depthwise"] = "plain"
    """Two full 3x3 convolutions (He et al. 2015), or a 5x5 depthwise one and two 1x1 (as in ConvNeXt)."""


@dataclass(frozen=True)
class RecogniserOutput:
    """What the network says of a batch of B glyphs.

    components: logits (B, slots, 1 + vocabulary), class 0 for an empty slot; strokes: logits (B, MAX_STROKES + 1);
    well_formed: logits (B,); embedding: (B, width), unit length, near for glyphs that look the same.
    """

    components: torch.Tensor
    strokes: torch.Tensor
    well_formed: torch.Tensor
    embedding: torch.Tensor

    def stroke_count(self) -> torch.Tensor:
        """The most likely number of strokes, (B,); nearer to the truth in the mean than the expected number."""
        return self.strokes.argmax(-1).float()

    def expected_strokes(self) -> torch.Tensor:
        """The expected number of strokes, (B,)."""
        counts = torch.arange(self.strokes.shape[-1], device=self.strokes.device)
        return (self.strokes.float().softmax(-1) * counts).sum(-1)

    def found(self, threshold: float) -> list[list[tuple[int, int, float]]]:
        """For each glyph what stands in it: (slot, class, probability), a class above `threshold` in its slot.

        "whole" counts only where no other slot holds anything.
        """
        probabilities = self.components.float().softmax(-1)
        probabilities[..., NONE] = 0.0
        glyphs: list[list[tuple[int, int, float]]] = [[] for _ in probabilities]
        for glyph, slot, kind in (probabilities > threshold).nonzero().tolist():
            glyphs[glyph].append((slot, kind, probabilities[glyph, slot, kind].item()))
        whole = SLOTS.index("whole")
        return [[one for one in components if one[0] != whole] or components for components in glyphs]


class Recogniser(nn.Module):
    """The network; `forward` takes ink (B, 1, SIDE, SIDE) in [0, 1] and returns what it sees.

    Its modules and parameters have the names that the shipped weights are stored under.
    """

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        """`vocabulary` is the number of components that it shall tell apart."""
        super().__init__()
        self.shape = shape
        stages, before = [], 1
        block = {"plain": _PlainBlock, "depthwise": _DepthwiseBlock}[shape.block]
        for width, depth in zip(shape.widths, shape.depths, strict=True):
            stages += [_convolution(before, width, stride=2), *(block(width) for _ in range(depth))]
            before = width
        self.body = nn.Sequential(*stages)
        width = shape.widths[-1]
        self.where = nn.Parameter(_where_slots_are(SIDE // REDUCTION))  # where each slot looks
        self.what = nn.Parameter(torch.randn(len(SLOTS), width) * 0.02)  # and for what
        self.slot_bias = nn.Parameter(torch.zeros(len(SLOTS), width))
        self.part = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, shape.embedding))
        self.elements = nn.Parameter(torch.randn(vocabulary, shape.embedding) * 0.1)
        self.empty = nn.Linear(width, 1)
        self.strokes = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, MAX_STROKES + 1))
        self.well_formed = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))
        self.embedding = nn.Linear(width * 4, shape.embedding)

    def forward(self, ink: torch.Tensor) -> RecogniserOutput:
        """See `RecogniserOutput`."""
        maps = self.body(ink)
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        quarters = F.adaptive_avg_pool2d(maps, 2).flatten(1)
        return RecogniserOutput(self._components(maps), self.strokes(pooled), self.well_formed(pooled)[:, 0],
                                F.normalize(self.embedding(quarters).float(), dim=-1))

    def _components(self, maps: torch.Tensor) -> torch.Tensor:
        positions = maps.flatten(2).transpose(1, 2)  # (B, positions, width)
        attention = torch.einsum("bpw,sw->bsp", positions, self.what) + self.where
        gathered = attention.softmax(-1) @ positions + self.slot_bias
        found = F.normalize(self.part(gathered).float(), dim=-1)
        cosines = found @ F.normalize(self.elements, dim=-1).T
        return torch.cat([self.empty(gathered).float(), COSINE_SCALE * cosines], -1)


class _PlainBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


class _DepthwiseBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.up, self.down = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.relu(self.up(self.norm(self.depthwise(x)))))


def _where_slots_are(side: int) -> torch.Tensor:
    """Attention logits (slots, side * side) to begin with: higher in the half or quarter that a slot is named for."""
    line = (torch.arange(side) + 0.5) / side - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    halves = {"left": -x, "right": x, "top": -y, "bottom": y}
    slots = [sum((6.0 * halves[word] for word in slot.split("/") if word in halves), torch.zeros(side, side))
             for slot in SLOTS]
    return torch.stack(slots).flatten(1)


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def to_ink(images: Sequence[Image.Image]) -> torch.Tensor:
    """Images of any size and mode (black on white) as ink, float32 (N, 1, SIDE, SIDE) in [0, 1]."""
    ink = np.empty((len(images), 1, SIDE, SIDE), dtype=np.float32)
    for index, image in enumerate(images):
        grey = image.convert("L")
        if grey.size != (SIDE, SIDE):
            grey = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
        ink[index, 0] = 1.0 - np.asarray(grey, dtype=np.float32) / 255.0
    return torch.from_numpy(ink)


def decoded_ink(samples: torch.Tensor) -> torch.Tensor:
    """What an autoencoder decoded, (N, C, H, W) in [-1, 1], as ink, float32 (N, 1, SIDE, SIDE) in [0, 1].

    Differentiable, and on the samples' device.
    """
    ink = (0.5 - 0.5 * samples.float().mean(1, keepdim=True)).clamp(0.0, 1.0)
    return F.interpolate(ink, size=(SIDE, SIDE), mode="area")


def save_recogniser(folder: Path, network: Recogniser, vocabulary: Vocabulary, metadata: dict) -> None:
    """Write weights (fp16), labels and metadata (thresholds, figures, shape) as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
               for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    vocabulary.save(folder / LABELS)
    text = json.dumps({"shape": asdict(network.shape), **metadata}, ensure_ascii=False, indent=1)
    write_text(folder / METADATA, text + "\n")


def load_recogniser(folder: Path) -> tuple[Recogniser, Vocabulary, dict]:
    """The network (fp32, in eval mode), its vocabulary and metadata. Raises RecogniserError naming the way out."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf8"))
        vocabulary = Vocabulary.load(folder / LABELS)
        network = Recogniser(Shape(**{name: tuple(value) if isinstance(value, list) else value
                                      for name, value in metadata["shape"].items()}), len(vocabulary))
        tensors = load_file(folder / WEIGHTS)
        missing, unexpected = network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()},
                                                      strict=False)
    except FileNotFoundError as error:
        raise RecogniserError(f"{error.filename}: not there. The weights come with the project (git checkout "
                              "training/recogniser_weights), or: python training/train_recogniser.py") from None
    except Exception as error:  # whatever a cut or foreign file makes the loaders raise
        raise RecogniserError(f"{folder}: no whole recogniser ({type(error).__name__}: {error}). Make it anew with: "
                              "python training/train_recogniser.py") from error
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise RecogniserError(f"{folder}: its weights are of another recogniser than its labels and shape")
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise RecogniserError(f"{folder / WEIGHTS}: has weights that are no finite numbers. Make it anew with: "
                              "python training/train_recogniser.py")
    return network.eval(), vocabulary, metadata
