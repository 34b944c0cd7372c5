"""The one interface between the pipeline and whatever runs the network."""

from __future__ import annotations

from typing import Protocol

from rosam_core.types import Float32, ModelCard, UInt8


class DepthEngine(Protocol):
    """Runs a student on a batch of images of network size; knows no ROS and no torch."""

    card: ModelCard
    name: str

    def infer(self, images: UInt8) -> tuple[Float32, Float32]:
        """Returns depth and confidence of a batch.

        Args:
            images: uint8[N,H,W,3], RGB, H and W as the card says.

        Returns:
            depth: float32[N,H,W], metres for a camera of `card.training_focal_px`.
            confidence: float32[N,H,W] in [0, 1].
        """
        ...

    def close(self) -> None:
        """Frees what the engine holds."""
        ...
