"""What several test files draw on: a small kanji set and a base of random weights, made once and not written into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

tqdm.monitor_interval = 0  # no thread of its own: a test may fork, and a lock that another thread holds stays locked

# The folders in the order of the floors that they test: what fails first is nearest to the cause.
FLOORS = ("data_extraction", "common", "models", "dataset", "planner", "recogniser", "generation", "trainer", "scoring",
          "page", "whole")


# The files that take longest, the longest first: on several cores none is to be left alone with one at the end.
LONGEST = ("test_launch", "test_end_to_end", "test_exact", "test_processes", "test_faults", "test_component_captions",
           "test_gpu_trial", "test_cluster", "test_train", "test_export", "test_evaluate", "test_page",
           "test_generate_fuzz", "test_any_settings", "test_finished", "test_ablation", "test_launch_flags")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests into the order of the floors, on several cores after the longest; a file's tests keep theirs."""
    first = LONGEST if hasattr(config, "workerinput") else ()

    def place(item: pytest.Item) -> tuple[int, int]:
        name = item.path.stem
        return first.index(name) if name in first else len(first), FLOORS.index(item.path.parent.name)

    items.sort(key=place)


@pytest.fixture
def own_accelerator() -> Iterator[None]:
    """For a test that trains in this process in another precision than others do: accelerate keeps one a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


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
