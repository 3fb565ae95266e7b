"""Sentence embeddings by MiniLM, the embedded base's text encoder: words that mean alike lie near one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from common.quiet import known_noise_off
from models.tiny import minilm_folder

with known_noise_off():
    from transformers import AutoTokenizer, BertModel

MAX_TOKENS = 48  # longer texts are cut
BATCH = 128
WIDTH = 384


class SentenceEncoder:
    """MiniLM with the mean over its tokens' states, as sentence-transformers uses it."""

    def __init__(self) -> None:
        """Load it on the CPU. Raises ModelError where its package is missing or holds other weights."""
        folder = minilm_folder()
        with known_noise_off():
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.network = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of unit length, fp32 (N, 384)."""
        found = torch.empty((len(texts), WIDTH))
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # alike lengths are padded little
        for start in range(0, len(texts), BATCH):
            indices = order[start:start + BATCH]
            batch = self.tokenizer([texts[index] for index in indices], padding=True, truncation=True,
                                   max_length=MAX_TOKENS, return_tensors="pt")
            states, mask = self.network(**batch).last_hidden_state.float(), batch["attention_mask"][..., None].float()
            found[indices] = F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return found
