"""Components as tokens of their own: 舟 beside the word "boat", in a tokenizer and in its text encoder's embedding.

A word is an ambiguous name of a component ("say" is 言 as well as 曰), a token is not. The tokens are added as textual
inversion adds its own (arXiv 2208.01618), so a saved pipeline is a plain one that has them, and whoever can type a
component can ask for it. Their embeddings are not learned: each is a function of the component and its name. So what
the text encoder makes of a caption can still be kept, and a table of names is all that a folder without a text encoder
needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from common.characters import is_character
from common.files import write_text
from common.quiet import known_noise_off
from common.seeds import Purpose, generator
from models.hub import ModelError

with known_noise_off():
    from diffusers import StableDiffusionPipeline
    from transformers import AddedToken, PreTrainedTokenizerBase

TABLE = "component_tokens.json"  # beside the weights of a folder without a text encoder
NAMES = "component_names"  # the entry of tokenizer_config.json; diffusers and transformers keep what they do not know
# The length of a token's own direction beside its name's embedding, as a fraction of the mean length of an embedding of
# the name. See training/tiny/EXPERIMENTS.md.
DIRECTION = 1.0


def component_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The components that a tokenizer was given tokens for; a character of its own vocabulary is none."""
    return frozenset(token for token in tokenizer.get_added_vocab() if is_character(token))


def component_names(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The names of the components that add_component_tokens gave a tokenizer tokens for, in the order of the tokens."""
    stored = tokenizer.init_kwargs.get(NAMES)
    names = stored if isinstance(stored, Mapping) else {}
    return {form: names[form] for form in sorted(names, key=tokenizer.convert_tokens_to_ids)}


@torch.no_grad()
def add_component_tokens(pipeline: StableDiffusionPipeline, names: Mapping[str, str]) -> None:
    """Give a pipeline a token for each component that has none yet.

    names: by component, one character, what it means. A character that the tokenizer's vocabulary has already keeps its
    number and gets an embedding like the others'. Nothing is drawn from a running random state.
    """
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    there = component_tokens(tokenizer)
    new = {form: name for form, name in names.items() if form not in there}
    if not new:
        return
    before = encoder.get_input_embeddings().weight.detach().clone()
    embeddings = torch.stack([_embedding(form, before[_ids(tokenizer, name)]) for form, name in new.items()])
    tokenizer.add_tokens([AddedToken(form, normalized=False) for form in new])
    tokenizer.init_kwargs[NAMES] = {**component_names(tokenizer), **new}
    indices = tokenizer.convert_tokens_to_ids(list(new))
    with known_noise_off(), torch.random.fork_rng(devices=[]):  # the new rows are drawn at random before they are set
        encoder.resize_token_embeddings(max(*indices, len(before) - 1) + 1, mean_resizing=False)
    encoder.get_input_embeddings().weight[indices] = embeddings


def _ids(tokenizer: PreTrainedTokenizerBase, name: str) -> list[int]:
    """The tokens of a name; that of the unknown where the tokenizer sees nothing in it, as in a space of no width."""
    return tokenizer(name, add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id]


def _embedding(form: str, of_name: torch.Tensor) -> torch.Tensor:
    """The embedding (width,) of a component from those of its name's tokens (N, width): their mean and a direction.

    The direction is the component's own, the same wherever a token is added for it: by it two of one name differ.
    """
    direction = torch.randn(of_name.shape[1], generator=generator(0, ord(form), Purpose.COMPONENT_TOKENS))
    length = DIRECTION * of_name.norm(dim=1).mean()
    return of_name.mean(0) + length * direction / direction.norm()


def save_table(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the names of a tokenizer's components into a folder, where it has any. Raises OSError."""
    if names := component_names(tokenizer):
        write_text(folder / TABLE, json.dumps(names, ensure_ascii=False, separators=(",", ":")) + "\n")


def load_table(folder: Path) -> dict[str, str]:
    """The names that save_table wrote into a folder, none where it wrote none.

    Raises ModelError where the table is damaged.
    """
    path = folder / TABLE
    if not path.exists():
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf8"))
        whole = all(is_character(form) and isinstance(name, str) and name.strip() for form, name in names.items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}). Copy or download it again.") from None
    if not whole:
        raise ModelError(f"{path}: is no table of characters and their names. Copy or download it again.")
    return names
