"""Output arrays that are recycled as soon as nobody holds them any more."""

from __future__ import annotations

import sys

import numpy as np

from rosam_core.types import Float32


class BufferPool:
    """Hands out float32[H,W] arrays, again and again the same ones where it is safe.

    Fresh memory costs a page fault for every 4 KiB that is written, which
    at 1600x900 takes longer than all arithmetic on the arrays. An array is handed out again only
    when nothing but the pool refers to it, neither itself nor a view nor a buffer of it, so a
    caller may keep what it got for as long as it likes. Not safe to share by threads.
    """

    def __init__(self, limit: int = 8) -> None:
        """Makes an empty pool.

        Args:
            limit: Most arrays kept; beyond it the oldest is left to its holder.
        """
        self._limit = limit
        self._buffers: list[Float32] = []
        # What an array in a list counts when nobody else holds it, on this Python.
        probe = [np.empty(1, np.float32)]
        self._idle = sys.getrefcount(probe[0])

    def take(self, height: int, width: int) -> Float32:
        """Returns an uninitialised float32[height,width] that nobody else holds."""
        for index in range(len(self._buffers)):
            if (
                sys.getrefcount(self._buffers[index]) == self._idle
                and self._buffers[index].shape == (height, width)
                and self._buffers[index].flags.writeable
            ):
                # To the end: the front is then what was handed out longest ago.
                self._buffers.append(self._buffers.pop(index))
                return self._buffers[-1]
        if len(self._buffers) >= self._limit:
            del self._buffers[0]
        fresh: Float32 = np.empty((height, width), np.float32)
        self._buffers.append(fresh)
        return fresh
