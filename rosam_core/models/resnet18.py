"""The paper's student: ResNet-18 encoder and a Monodepth2-style four-scale decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, cat, nn
from torch.nn import functional

from rosam_core.models.common import (
    HeadConv,
    ImageNormalisation,
    initialise_head,
    load_encoder,
    student_output,
)

ENCODER_CHANNELS = (64, 64, 128, 256, 512)
"""Channels of the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image size."""

DECODER_CHANNELS = (16, 32, 64, 128, 256)
"""Channels of the decoder at full, 1/2, 1/4, 1/8 and 1/16 resolution.

Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019, table 5.
"""


class BasicBlock(nn.Module):
    """He et al., "Deep Residual Learning", CVPR 2016, figure 5 left; names of torchvision."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c_in,h,w] to float[b,c_out,h/stride,w/stride]."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        skip = x if self.downsample is None else self.downsample(x)
        return self.relu(y + skip)


class ResNet18Encoder(nn.Module):
    """ResNet-18 without its classifier, with the parameter names of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns five tensors float[b,c,h/k,w/k], k = 2 ... 32, c = `ENCODER_CHANNELS`."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


class ReflectConv(nn.Module):
    """3x3 convolution with reflection padding, and ELU unless it is a head."""

    def __init__(self, c_in: int, c_out: int, is_head: bool = False) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(1)
        self.conv = (HeadConv if is_head else nn.Conv2d)(c_in, c_out, 3)
        self.act = nn.Identity() if is_head else nn.ELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c_in,h,w] to float[b,c_out,h,w]."""
        return self.act(self.conv(self.pad(x)))


class FourScaleDecoder(nn.Module):
    """Convolution, nearest upsampling, skip, convolution at each level; heads at four scales."""

    def __init__(self) -> None:
        super().__init__()
        before, after = [], []
        c_in = ENCODER_CHANNELS[-1]
        for level in (4, 3, 2, 1, 0):
            c_out = DECODER_CHANNELS[level]
            c_skip = ENCODER_CHANNELS[level - 1] if level else 0
            before.append(ReflectConv(c_in, c_out))
            after.append(ReflectConv(c_out + c_skip, c_out))
            c_in = c_out
        self.before = nn.ModuleList(reversed(before))  # indexed by level, as the heads are
        self.after = nn.ModuleList(reversed(after))
        heads = [ReflectConv(DECODER_CHANNELS[i], 2, is_head=True) for i in range(4)]
        for head in heads:
            initialise_head(head.conv)
        self.heads = nn.ModuleList(heads)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Returns raw heads, and features at 1/2, 1/4 and 1/8 of the image size.

        Heads are float[b,2,h/k,w/k]: k = 1 and, in training, also 2, 4 and 8.
        """
        x = features[-1]
        heads, levels = [], []
        for level in (4, 3, 2, 1, 0):
            x = functional.interpolate(self.before[level](x), scale_factor=2.0, mode="nearest")
            if level:
                x = cat([x, features[level - 1]], dim=1)
            x = self.after[level](x)
            if level == 0 or (level < 4 and self.training):
                heads.append(self.heads[level](x))
            if 1 <= level <= 3:
                levels.append(x)
        return heads[::-1], levels[::-1]


class ResNet18Student(nn.Module):
    """ResNet-18 encoder and `FourScaleDecoder`.

    The decoder predicts log depth rather than the sigmoid disparity of Monodepth2, because the
    likelihood of the confidence is in log depth; everything else follows the description.

    Args:
        encoder_checkpoint: ImageNet weights as torchvision names them (`resnet18`), or None for
            random ones.
    """

    size_multiple = 32
    # Parameters that inference does not use.
    training_only = ("decoder.heads.1.", "decoder.heads.2.", "decoder.heads.3.")

    def __init__(self, encoder_checkpoint: str | Path | None = None) -> None:
        super().__init__()
        self.normalise = ImageNormalisation()
        self.encoder = ResNet18Encoder()
        self.decoder = FourScaleDecoder()
        if encoder_checkpoint:
            load_encoder(self.encoder, encoder_checkpoint, ("fc.",))

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Returns inverse depth and log b (see `rosam_core.models.create_model`).

        Args:
            images: float[b,3,h,w], RGB in [0, 1], h and w multiples of 32.
        """
        heads, features = self.decoder(self.encoder(self.normalise(images)))
        return student_output(heads, features, (images.shape[-2], images.shape[-1]), self.training)
