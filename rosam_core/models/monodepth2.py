"""The published form of the ResNet-18 network: sigmoid inverse depth, its own normalisation.

Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019. It exists to
run checkpoints of Monodepth2 and of what descends from it, such as md4all's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rosam_core.models.common import INITIAL_B, student_output
from rosam_core.models.resnet18 import ResNet18Student

DEPTH_RANGE_M = (0.1, 100.0)
MEAN, STD = 0.45, 0.225

UPCONVOLUTIONS = 10
"""Convolutions of the published decoder's list before its heads: two a level, coarsest first."""


class Monodepth2Student(ResNet18Student):
    """ResNet-18 student whose depth is D = 1 / (1/far + (1/near - 1/far) sigmoid(x)).

    `near`, `far` and the normalisation are buffers, so that a checkpoint is complete without
    options. The published network has no confidence: b starts at a constant.

    Args:
        encoder_checkpoint: See `ResNet18Student`.
        depth_range_m: Near and far [m]; multiplied by the factor that makes depth metric, if any.
        mean: Subtracted from RGB in [0, 1].
        std: What the difference is divided by.
    """

    inverse_range: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder_checkpoint: str | Path | None = None,
        depth_range_m: tuple[float, float] = DEPTH_RANGE_M,
        mean: float = MEAN,
        std: float = STD,
    ) -> None:
        super().__init__(encoder_checkpoint)
        near, far = depth_range_m
        if not 0 < near < far:
            raise ValueError(f"need 0 < near < far, got {near:g} and {far:g} m")
        if not std > 0:
            raise ValueError(f"need std > 0, got {std:g}")
        self.normalise = nn.Identity()  # the base class's
        self.register_buffer("inverse_range", torch.tensor([1 / far, 1 / near]))
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        for head in self.decoder.heads:
            nn.init.zeros_(head.conv.bias)
            _start_confidence(head.conv)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Returns inverse depth and log b (see `rosam_core.models.create_model`).

        Args:
            images: float[b,3,h,w], RGB in [0, 1], h and w multiples of 32.
        """
        heads, features = self.decoder(self.encoder((images - self.mean) / self.std))
        far, near = self.inverse_range
        heads = [
            torch.cat(
                [-torch.log(far + (near - far) * torch.sigmoid(x[:, :1].float())), x[:, 1:]], 1
            )
            for x in heads
        ]
        return student_output(heads, features, (images.shape[-2], images.shape[-1]), self.training)


def published_weights(
    encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor], student: Monodepth2Student
) -> dict[str, Tensor]:
    """Returns the state of a student that computes what a published network computes.

    Args:
        encoder: State of Monodepth2's `ResnetEncoder`: `encoder.conv1.weight`, ...
        decoder: State of its `DepthDecoder`: `decoder.0.conv.conv.weight`, ...
        student: Of which everything else is taken: range, normalisation, confidence.

    Raises:
        ValueError: A parameter is missing, unknown or of another shape; names the first.
    """
    state = dict(student.state_dict())
    renamed = {
        name: tensor
        for name, tensor in encoder.items()
        if isinstance(tensor, Tensor) and not name.startswith("encoder.fc.")
    }
    for name, tensor in decoder.items():
        renamed[_decoder_name(name)] = tensor
    taken = set()
    for name, tensor in renamed.items():
        target = state.get(name)
        if target is None:
            raise ValueError(f"the ResNet-18 network has no parameter {name}")
        if ".heads." in name:  # one channel there, depth and confidence here
            if tensor.shape[0] != 1 or tensor.shape[1:] != target.shape[1:]:
                raise ValueError(f"{name} is {tuple(tensor.shape)}: not of a network of 1 output")
            tensor = torch.cat([tensor.to(target.dtype), target[1:]])
        if tensor.shape != target.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, expected {tuple(target.shape)}")
        state[name] = tensor
        taken.add(name)
    own = {"inverse_range", "mean", "std"}
    missing = [
        name
        for name in state
        if name not in taken | own and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise ValueError(f"{len(missing)} parameters are missing, such as {missing[0]}")
    return state


def _decoder_name(name: str) -> str:
    """Returns our name of a parameter of the published decoder."""
    parts = name.split(".")
    if len(parts) < 4 or parts[0] != "decoder" or not parts[1].isdigit():
        raise ValueError(f"{name} is no parameter of a Monodepth2 decoder")
    place = int(parts[1])
    if place >= UPCONVOLUTIONS:
        return f"decoder.heads.{place - UPCONVOLUTIONS}.conv.{parts[-1]}"
    side = "after" if place % 2 else "before"
    return f"decoder.{side}.{4 - place // 2}.conv.{parts[-1]}"


def _start_confidence(head: nn.Conv2d) -> None:
    """Makes the second channel of a head a constant, log of `INITIAL_B`."""
    with torch.no_grad():
        head.weight[1].zero_()
        if head.bias is not None:
            head.bias[1] = math.log(INITIAL_B)
