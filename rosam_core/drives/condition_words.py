"""The condition that words about a recording tell."""

from __future__ import annotations

import re

ADVERSE = {"night": "night", "rain": "day-rain", "fog": "fog"}
"""Word and condition; the first that occurs counts, so night rain is night."""


def adverse_condition(text: str, within_words: bool = False) -> str | None:
    """Returns night, day-rain or fog, None if the words tell none of them.

    Args:
        text: A description or a list of tags, in upper or lower case.
        within_words: A word may be a part of another one, as published splits have it; otherwise
            "training" is no rain.
    """
    pattern = "{}" if within_words else r"(?<![a-z]){}(y|ing|gy|s|time|-time)?(?![a-z])"
    found = (ADVERSE[w] for w in ADVERSE if re.search(pattern.format(w), text.lower()))
    return next(found, None)
