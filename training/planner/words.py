"""The forms under which words are looked up."""

from __future__ import annotations

import re


def looked_up(text: str) -> list[str]:
    """What words are looked up as: as they stand, without an article or hyphens, in the singular; lower case."""
    word = re.sub(r"^(the|an?) ", "", text.lower())
    found = [text.lower(), word, word.replace("-", " ")]
    for ending, singular in (("ies", "y"), ("es", ""), ("s", "")):
        if len(word) > len(ending) + 2 and word.endswith(ending) and not word.endswith("ss"):
            found.append(word.removesuffix(ending) + singular)
    return list(dict.fromkeys(found))
