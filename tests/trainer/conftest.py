"""What most tests of the trainer begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from training_fixtures import save_base, save_dataset


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small base and a small set, for the tests of one file; their runs lie beside them."""
    folder = tmp_path_factory.mktemp("bench")
    save_base(folder / "base")
    save_dataset(folder / "data")
    return folder
