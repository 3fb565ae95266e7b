"""What several test files draw on: a small kanji set and a base of random weights, made once and not written into."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kanji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder of recogniser_fixtures, with train/ and test/."""
    from recogniser_fixtures import save_kanji_set

    return save_kanji_set(tmp_path_factory.mktemp("kanji") / "set")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder that draws grey pictures of 32 px."""
    from training_fixtures import save_base

    return save_base(tmp_path_factory.mktemp("base") / "base", channels=1)
