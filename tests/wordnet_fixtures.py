"""A WordNet of a few nouns: water and what is near it, numbers, people; in the format of its own files."""

from __future__ import annotations

from pathlib import Path

# Each word with what it is a kind of, the more general before the more special.
KINDS = {"entity": None, "thing": "entity", "water": "thing", "river": "water", "lake": "water", "mouth": "river",
         "number": "entity", "ten": "number", "two": "number", "dozen": "number", "being": "entity", "person": "being",
         "child": "person", "sailor": "person"}


def save_wordnet(folder: Path) -> Path:
    """Save data.noun, index.noun and cntlist.rev."""
    folder.mkdir(parents=True)
    offsets = {word: f"{number:08}" for number, word in enumerate(KINDS, 1)}
    data, index = ["  1 a licence stands here"], ["  1 a licence stands here"]
    for word, above in KINDS.items():
        pointers = f"001 @ {offsets[above]} n 0000" if above else "000"
        data.append(f"{offsets[word]} 03 n 01 {word} 0 {pointers} | what {word} is")
        index.append(f"{word} n 1 1 @ 1 1 {offsets[word]}")
    (folder / "data.noun").write_text("\n".join(data) + "\n")
    (folder / "index.noun").write_text("\n".join(sorted(index)) + "\n")
    (folder / "cntlist.rev").write_text("".join(f"{word}%1:03:00:: 1 5\n" for word in KINDS))
    return folder
