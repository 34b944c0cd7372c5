"""What words about a recording say of its condition."""

import pytest

from rosam_core.drives.condition_ranges import save_ranges
from rosam_core.drives.condition_words import adverse_condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("day, clear, training set", None),
        ("train station at noon", None),
        ("rough terrain", None),
        ("Rain, busy", "day-rain"),
        ("rainy", "day-rain"),
        ("night_rain", "night"),
        ("foggy morning", "fog"),
    ],
)
def test_words_and_not_parts_of_words(text, expected):
    assert adverse_condition(text) == expected


def test_published_descriptions_are_searched_within_words():
    assert adverse_condition("Parked truck, heavyrain", within_words=True) == "day-rain"


def test_ranges_of_an_earlier_recording_go(tmp_path):
    path = tmp_path / "a.conditions.yaml"
    save_ranges(path, [0, 10**9], ["night", "night"])
    assert path.is_file()
    save_ranges(path, [0, 10**9], ["unknown", "unknown"])
    assert not path.exists()
