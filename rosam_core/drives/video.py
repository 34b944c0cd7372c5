"""A video file as numbered pictures, read from any process and in any order."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rosam_core.types import UInt8

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")

SHORT_WAY = 30
"""Frames that are passed over rather than sought: seeking decodes from the last key frame."""


class VideoFile:
    """The pictures of a video of constant frame rate; each process opens the file for itself.

    Attributes:
        count: Number of pictures.
        fps: Pictures a second, as the file says.
        width: Width [px].
        height: Height [px].
    """

    def __init__(self, path: str | Path) -> None:
        """Opens a video.

        Args:
            path: The file.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It does not decode, or does not say its frame rate.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no video {self.path}")
        self._capture: Any = None
        self._process = -1
        self._next = 0
        self._start_ms = 0.0
        self.fps = float("nan")
        self._open()
        ok, first = self._capture.read()
        if not ok:
            raise ValueError(f"{self.path} has no picture that decodes: is the file whole?")
        self._start_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        self._next = 1
        self.height, self.width = first.shape[:2]
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        if not 0 < self.fps < 1e4:
            raise ValueError(
                f"{self.path} states {self.fps:g} frames/s: make a folder of images, and give "
                f"their rate with --fps (ffmpeg -i {self.path.name} frames/%06d.png)"
            )
        self.count = self._count()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the open file behind: every process opens its own."""
        return {**self.__dict__, "_capture": None}

    def read(self, index: int) -> UInt8:
        """Returns one picture, uint8[H,W,3] RGB.

        Args:
            index: Its number, from 0.

        Raises:
            ValueError: It does not decode, or lies at another time than its number says.
        """
        if self._capture is None or self._process != os.getpid():
            self._open()
        seeks = not self._next <= index < self._next + SHORT_WAY
        if seeks:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            self._next = index
        picture = self._forward_to(index)
        if seeks and (picture is None or abs(self._drift_frames(index)) > 0.5):
            # Not where it should have led: counting from the start is slow, but sure.
            self._open()
            picture = self._forward_to(index)
        if picture is None:
            raise ValueError(f"{self.path}: frame {index} of {self.count} does not decode")
        drift = self._drift_frames(index)
        if abs(drift) > 1:
            raise ValueError(
                f"{self.path}: frame {index} is {drift:+.1f} frames off the stated {self.fps:g} "
                "frames/s, so the rate varies: make a folder of images of constant rate "
                f"(ffmpeg -i {self.path.name} -vf fps={self.fps:.0f} frames/%06d.png)"
            )
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(str(self.path))
        self._process, self._next = os.getpid(), 0
        if not self._capture.isOpened():
            raise ValueError(f"{self.path} does not open as a video: is the file whole?")

    def _forward_to(self, index: int) -> Any:
        """Returns the picture of a number at or after the next one, None at the end."""
        while self._next < index:
            if not self._capture.grab():
                return None
            self._next += 1
        ok, picture = self._capture.read()
        self._next += 1
        return picture if ok else None

    def _drift_frames(self, index: int) -> float:
        """Returns how much later than its number says the last picture lies [frames]."""
        at_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) - self._start_ms
        return at_ms * self.fps / 1e3 - index

    def _count(self) -> int:
        """Returns the number of pictures; containers only estimate it, so the last is tried."""
        stated = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if stated > 0:
            self.count = stated
            try:
                self.read(stated - 1)
                return stated
            except ValueError:
                pass
        self._open()
        count = 0
        while self._capture.grab():
            count += 1
        self._open()
        logger.warning("%s: %d frames are stated, %d are there", self.path, stated, count)
        return count
