"""Sizes and times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.model.units import describe_size, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), (512, 512), ("512", 512), ("512B", 512), ("1k", 1024), ("4GiB", 4 << 30), ("4 GiB", 4 << 30), ("4G", 4 << 30),
        ("10MB", 10_000_000), ("10mb", 10_000_000), ("1.5MiB", 3 << 19), ("1kB", 1000), ("1KB", 1000), ("2TiB", 2 << 40),
    ],
)  # fmt: skip
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "4X", "-1", "4GiBs", "1e3", "GiB", "4 4", "9" * 40, "99999999TiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|more than"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0), (90, 90.0), (1.5, 1.5), ("90", 90.0), ("90s", 90.0), ("30m", 1800.0), ("30 min", 1800.0), ("1h30m", 5400.0),
        ("1h 30m", 5400.0), ("2 days", 172800.0), ("500ms", 0.5), ("1.5h", 5400.0), ("never", 0.0), (" Never ", 0.0),
    ],
)  # fmt: skip
def test_times(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "1h30", "30 1m", "-1s", "1w", "1h-30m", "nan", "inf", "1e9999999d", "9" * 30 + "h"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|hundred years"):
        parse_duration(text)


@given(st.integers(0, 1 << 59))
def test_a_written_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_written_sizes() -> None:
    assert [format_size(s) for s in (0, 1234, 4 << 30, 10_000_000)] == ["0", "1234B", "4GiB", "10MB"]
    assert [describe_size(s) for s in (0, 900, 11_500_000, 4 << 30)] == ["0 B", "900 B", "11.5 MB", "4.3 GB"]
