"""The CPU student: MobileNetV4-conv-small encoder and a decoder of depthwise convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rosam_core.models.common import (
    HeadConv,
    ImageNormalisation,
    initialise_head,
    load_encoder,
    student_output,
)
from rosam_core.models.mobilenetv4 import (
    CLASSIFIER_PREFIXES,
    ENCODER_CHANNELS,
    ConvNorm,
    MobileNetV4ConvSmall,
    UniversalInvertedBottleneck,
)


class SceneContext(nn.Module):
    """Adds to every position what its image row and the whole image look like.

    Metric scale, the horizon and the weather are properties of the picture, not of a patch; row
    and image means make them available everywhere at little cost.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.image = nn.Conv2d(channels, channels, 1)
        self.row = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c,h,w] to the same shape."""
        rows = x.mean(dim=3, keepdim=True)
        context = self.row(rows) + self.image(rows.mean(dim=2, keepdim=True))
        return x + self.mix(functional.relu(context))


class DepthwiseBlock(nn.Module):
    """Residual depthwise convolution followed by a 1x1 convolution."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = ConvNorm(channels, channels, kernel, groups=channels)
        self.pointwise = ConvNorm(channels, channels, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c,h,w] to the same shape."""
        return functional.relu(x + self.pointwise(self.depthwise(x)))


class LightDecoder(nn.Module):
    """1x1 laterals, nearest upsampling and depthwise blocks, down to half resolution.

    The head gives each position its four pixels: a smooth log depth, and what each of the four
    adds to it, so that an outline need not be as coarse as the features.

    Args:
        encoder_channels: Channels of the features at 1/2 ... 1/32.
        channels: Channels of the decoder at 1/2 ... 1/32.
    """

    def __init__(
        self,
        encoder_channels: tuple[int, ...] = ENCODER_CHANNELS,
        channels: tuple[int, ...] = (32, 48, 64, 96, 128),
    ) -> None:
        super().__init__()
        kernels = (3, 3, 5, 5, 5)
        self.context = nn.Sequential(
            ConvNorm(encoder_channels[-1], channels[-1], 1),
            SceneContext(channels[-1]),
            DepthwiseBlock(channels[-1], kernels[-1]),
            UniversalInvertedBottleneck(channels[-1], channels[-1], 0, 5, 1, 4),
            UniversalInvertedBottleneck(channels[-1], channels[-1], 0, 5, 1, 4),
        )
        # Where most objects are a few positions large.
        self.objects = UniversalInvertedBottleneck(channels[-2], channels[-2], 0, 5, 1, 4)
        self.reduce = nn.ModuleList(
            ConvNorm(channels[i + 1], channels[i], 1, act=False) for i in range(4)
        )
        self.lateral = nn.ModuleList(
            ConvNorm(encoder_channels[i], channels[i], 1, act=False) for i in range(4)
        )
        self.blocks = nn.ModuleList(DepthwiseBlock(channels[i], kernels[i]) for i in range(4))
        self.refine = nn.ModuleList(DepthwiseBlock(channels[i], 3) for i in range(2))
        self.head = HeadConv(channels[0], 2 + 4, 1)
        # Only trained, never exported: keeps the coarse levels honest.
        self.auxiliary_head = HeadConv(channels[2], 2, 3, padding=1)
        initialise_head(self.head)
        initialise_head(self.auxiliary_head)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Returns raw heads, and features at 1/2, 1/4 and 1/8 of the image size.

        Heads are float[b,2,h,w] and, in training, float[b,2,h/8,w/8].
        """
        x = self.context(features[4])
        heads, levels = [], []
        for level in (3, 2, 1, 0):
            x = functional.interpolate(self.reduce[level](x), scale_factor=2.0, mode="nearest")
            x = self.blocks[level](functional.relu(x + self.lateral[level](features[level])))
            if level == 3:
                x = self.objects(x)
            if level < len(self.refine):  # outlines and thin things
                x = self.refine[level](x)
            if level == 2 and self.training:
                heads.append(self.auxiliary_head(x))
            if level <= 2:
                levels.append(x)
        return [self._pixels(self.head(x)), *heads], levels[::-1]

    @staticmethod
    def _pixels(raw: Tensor) -> Tensor:
        """Maps the head's float[b,6,h,w] to float[b,2,2h,2w]."""
        raw = raw.float()
        smooth = functional.interpolate(
            raw[:, :2], scale_factor=2.0, mode="bilinear", align_corners=False
        )
        own = functional.pixel_shuffle(raw[:, 2:], 2)
        return torch.cat([smooth[:, :1] + own, smooth[:, 1:]], dim=1)


class LightStudent(nn.Module):
    """MobileNetV4-conv-small encoder and `LightDecoder`.

    Args:
        encoder_checkpoint: ImageNet weights as timm names them (`mobilenetv4_conv_small`), or
            None for random ones.
    """

    size_multiple = 32
    training_only = ("decoder.auxiliary_head.",)  # parameters that inference does not use

    def __init__(self, encoder_checkpoint: str | Path | None = None) -> None:
        super().__init__()
        self.normalise = ImageNormalisation()
        self.encoder = MobileNetV4ConvSmall()
        self.decoder = LightDecoder()
        if encoder_checkpoint:
            load_encoder(self.encoder, encoder_checkpoint, CLASSIFIER_PREFIXES)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Returns inverse depth and log b (see `rosam_core.models.create_model`).

        Args:
            images: float[b,3,h,w], RGB in [0, 1], h and w multiples of 32.
        """
        heads, features = self.decoder(self.encoder(self.normalise(images)))
        return student_output(heads, features, (images.shape[-2], images.shape[-1]), self.training)


def parameter_count(model: nn.Module) -> int:
    """Returns the number of parameters of a model."""
    return sum(torch.numel(p) for p in model.parameters())
