"""Which forms of a right answer were found, where a component that was read may have several senses."""

from __future__ import annotations

from collections.abc import Collection

from recogniser.judge import Reading

Found = frozenset[frozenset[str]]  # components found in an image, each by the meaning forms of all its senses


def components_in(reading: Reading) -> Found:
    """The components that were read, each once and with every sense it can have: 月 is 月, moon, and 肉, meat."""
    return frozenset(component.forms for component in reading.components)


def hits(found: Found, answer: Collection[str]) -> int:
    """How many forms of an answer were found, where each component found stands for one of its senses alone.

    A maximum matching of forms and components, by augmenting paths (Kuhn 1955).
    """
    taken: dict[frozenset[str], str] = {}

    def place(form: str, tried: set[frozenset[str]]) -> bool:
        for senses in (senses for senses in found if form in senses and senses not in tried):
            tried.add(senses)
            if senses not in taken or place(taken[senses], tried):
                taken[senses] = form
                return True
        return False

    return sum(place(form, set()) for form in answer)


def has_all(found: Found, answer: Collection[str]) -> bool:
    """Whether all forms of an answer were found."""
    return hits(found, answer) == len(answer)


def counted(found: Found, answer: Collection[str]) -> tuple[int, int, int]:
    """Forms that were found, components found that are none of them in any sense, and forms that were not found."""
    count = hits(found, answer)
    return count, sum(senses.isdisjoint(answer) for senses in found), len(answer) - count
