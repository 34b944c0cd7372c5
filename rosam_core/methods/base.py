"""What the trainer knows of a method: named loss terms, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""Tensors by name; each method says which it needs."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One unreduced loss.

    Attributes:
        map: float[b,...], the loss of every element; finite everywhere.
        weight: Factor of its mean in the total.
        counted: Weights or booleans of `map`'s shape that say which elements the mean is taken
            over, or None for all of them.
    """

    map: Tensor
    weight: float = 1.0
    counted: Tensor | None = None

    def mean(self) -> Tensor:
        """Returns the mean over the counted elements, 0 if there are none (a scalar)."""
        if self.counted is None:
            return self.map.mean()
        counted = self.counted.to(self.map.dtype)
        return (self.map * counted).sum() / counted.sum().clamp(min=1e-6)

    def count(self) -> Tensor:
        """Returns how many elements are counted, or the sum of their weights (a scalar)."""
        if self.counted is None:
            return torch.tensor(float(self.map.numel()), device=self.map.device)
        return self.counted.detach().to(self.map.dtype).sum()


class Method(Protocol):
    """A way of training: the network that is shipped, and losses for a batch."""

    student: nn.Module

    def losses(self, batch: Batch, step: int) -> dict[str, Term]:
        """Returns the named terms of one optimisation step.

        Args:
            batch: Tensors on the method's device.
            step: Number of optimisation steps made so far.
        """
        ...
