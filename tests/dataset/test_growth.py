"""The benchmark of how a set-up grows with the rows of a set runs in small, and its table says what a row costs."""

from __future__ import annotations

from benchmarks.growth import measure, table


def test_a_small_set_is_set_up_and_measured() -> None:
    result = measure(40)
    assert result["rows"] == 40
    assert all(result[name] > 0 for name in ("read_s", "plan_s", "open_s", "batch_ms", "before_gb", "gb"))


def test_what_a_row_more_costs_is_the_difference_between_the_smallest_and_the_largest_set() -> None:
    small = {"rows": 1000, "read_s": 1.0, "plan_s": 0.5, "open_s": 0.5, "batch_ms": 2.0, "before_gb": 0.5, "gb": 1.0}
    large = {**small, "rows": 3000, "read_s": 4.0, "open_s": 1.5, "gb": 1.5}
    assert "costs 2.00 ms of a CPU and 250.0 kB" in table([large, small])
    assert "costs" not in table([small])
