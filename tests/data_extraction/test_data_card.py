"""Promises about the dataset card."""

from __future__ import annotations

import pytest

from dataset_card import write_card


@pytest.mark.parametrize(
    ("train", "category"),
    [(10, "n<1K"), (6_000, "1K<n<10K"), (26_000, "10K<n<100K"), (200_000, "100K<n<1M"), (1_006_000, "1M<n<10M")],
)
def test_the_card_names_the_hubs_category_of_any_size(tmp_path, train, category):
    counts = {"train": train, "test": 5, "real": 15, "composed": train}
    source = {"name": "KanjiVG", "version": "20260714", "date": "2026-07-14", "sha256": "0" * 64}
    write_card(tmp_path, {"counts": counts, "options": {"language": "fr", "size": 64}, "sources": [source]}, 7)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"size_categories:\n- {category}\n" in card
    assert "language:\n- fr\n" in card
