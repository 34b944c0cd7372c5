"""The condition that words about a recording tell."""

from __future__ import annotations

ADVERSE = {"night": "night", "rain": "day-rain", "fog": "fog"}
"""Word and condition; the first that occurs counts, so night rain is night."""


def adverse_condition(text: str) -> str | None:
    """Returns night, day-rain or fog, None if the words tell none of them.

    Args:
        text: A description or a list of tags, in upper or lower case.
    """
    words = text.lower()
    return next((ADVERSE[word] for word in ADVERSE if word in words), None)
