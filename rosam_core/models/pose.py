"""Motion between two frames: ResNet-18 on both images at once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rosam_core.models.common import HeadConv, ImageNormalisation, load_encoder
from rosam_core.models.resnet18 import ENCODER_CHANNELS, ResNet18Encoder

ROTATION_SCALE, TRANSLATION_SCALE = 0.01, 0.1
"""Of the three numbers each [rad, m], so that training starts from next to no motion.

The published 0.01 for both is for a translation without unit. A car drives a metre from frame to
frame: the network's own numbers would have to grow to 100, which took thousands of steps.
"""


class PoseNetwork(nn.Module):
    """Two-frame pose network of self-supervised depth; needed in training only.

    Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019, section
    5: ResNet-18 with six input channels, then four convolutions and a mean over the image.

    Args:
        encoder_checkpoint: ImageNet weights as torchvision names them (`resnet18`), or None for
            random ones. Both images start with the same filters, at half their strength.
        scale: Size at which it looks at the images, relative to theirs, in (0, 1]. It is larger
            than the light student by far: at 0.5 it costs a quarter.

    Raises:
        ValueError: The scale is out of range, or the checkpoint does not fit.
    """

    def __init__(self, encoder_checkpoint: str | Path | None = None, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < scale <= 1:
            raise ValueError(f"the pose network's scale must be in (0, 1], got {scale}")
        self.scale = scale
        self.normalise = ImageNormalisation()
        self.encoder = ResNet18Encoder()
        if encoder_checkpoint:
            load_encoder(self.encoder, encoder_checkpoint, ("fc.",))
        self.encoder.conv1 = _for_two_images(self.encoder.conv1, is_random=not encoder_checkpoint)
        self.head = nn.Sequential(
            nn.Conv2d(ENCODER_CHANNELS[-1], 256, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            HeadConv(256, 6, 1),
        )

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Returns the motion that takes points of the earlier camera to the later one's frame.

        Args:
            earlier: float[b,3,h,w], RGB in [0, 1], h and w multiples of 32.
            later: The same shape.

        Returns:
            float[b,6], rotation as axis times angle [rad] and translation [m] of
            T_later_earlier (see `rosam_core.geometry.rigid`).
        """
        both = torch.cat([self.normalise(earlier), self.normalise(later)], dim=1)
        if self.scale < 1:
            both = functional.interpolate(both, scale_factor=self.scale, mode="area")
        raw: Tensor = self.head(self.encoder(both)[-1])
        # Their mean and the rotation's matrix need more than bfloat16's 8 bits.
        rotation, translation = raw.float().mean(dim=(-2, -1)).chunk(2, dim=1)
        return torch.cat([ROTATION_SCALE * rotation, TRANSLATION_SCALE * translation], dim=1)


def _for_two_images(conv: nn.Conv2d, is_random: bool) -> nn.Conv2d:
    """Returns the first convolution with six input channels.

    Random filters differ between the images: with equal ones the network cannot tell which frame
    is which until training has moved them apart.
    """
    wide = nn.Conv2d(6, conv.out_channels, 7, 2, 3, bias=False)
    nn.init.kaiming_normal_(wide.weight, mode="fan_out", nonlinearity="relu")
    if not is_random:
        with torch.no_grad():
            wide.weight.copy_(torch.cat([conv.weight, conv.weight], dim=1) / 2)
    return wide
