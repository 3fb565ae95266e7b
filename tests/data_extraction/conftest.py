"""The sources, a dataset and the command for the tests of plans and names."""

from __future__ import annotations

from pathlib import Path

import pytest

import data_fixtures
import files
import main
from data_fixtures import write_plans
from kanjivg_reader import is_kanji

BLOCKS = [("06700", "06760"), ("06c40", "06d80"), ("08a00", "08a60"), ("09990", "099d0")]


@pytest.fixture(scope="session")
def few_sources(tmp_path_factory):
    """The drawings of some 500 kanji, among them 明 and many with 氵; and a dictionary of all kanji."""
    folder = tmp_path_factory.mktemp("sources")
    drawn = [chr(int(name[:5], 16)) for name in data_fixtures.all_svgs()]
    few = [literal for literal in drawn if any(first <= f"{ord(literal):05x}" < end for first, end in BLOCKS)]
    return {
        "kanjidic": data_fixtures.write_kanjidic(folder / "kanjidic2.xml.gz", filter(is_kanji, drawn)),
        "kanjivg": data_fixtures.write_kanjivg(folder / "svgs", [*few, *"明冷炎災照季盟馮罵篤焦熊黙無"]),
    }


@pytest.fixture(scope="session")
def dataset_without_names(tmp_path_factory, few_sources):
    """The dataset without names."""
    folder = tmp_path_factory.mktemp("without") / "kanji"
    main.main(main.Options(output=folder, **few_sources, compose=200, size=32, workers=1))
    return folder


@pytest.fixture
def make(tmp_path, few_sources, monkeypatch):
    """A function that runs the command and returns the folder; whichever of --plans and --names is given is written."""
    monkeypatch.setattr(files.os, "sync", lambda: None)  # it waits for whatever else the machine writes

    def make(plans=None, names=None, **options):
        asked = {}
        for flag, lines in (("plans", plans), ("names", names)):
            if lines is not None:
                asked[flag] = lines if isinstance(lines, Path) else write_plans(tmp_path / f"{flag}.jsonl", lines)
        settings = {"output": tmp_path / "made", "size": 32, "workers": 1, "compose": 200, **few_sources}
        main.main(main.Options(**settings | asked | options))
        return (settings | options)["output"]

    return make
