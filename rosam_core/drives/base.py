"""A drive: an ordered, indexable sequence of frames, whatever it was recorded with."""

from __future__ import annotations

import abc
from collections.abc import Iterator

from rosam_core.types import Frame


class Drive(abc.ABC):
    """An ordered sequence of frames, cheap to index and safe to read from several processes."""

    name: str

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of frames."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Frame:
        """Reads one frame; raises IndexError outside `0 <= index < len`."""

    def scene(self, index: int) -> str:
        """Returns the recording that a frame belongs to: figures of one scene go together."""
        return self.name

    def __iter__(self) -> Iterator[Frame]:
        """Reads every frame in order."""
        for index in range(len(self)):
            yield self[index]
