"""MobileNetV4-Conv-Small as a five-scale encoder, with the parameter names of timm.

Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem", ECCV 2024, table 12.
"""

from __future__ import annotations

from torch import Tensor, nn

from rosam_core.models.depthwise import DepthwiseConvolution

ENCODER_CHANNELS = (32, 32, 64, 96, 128)
"""Channels of the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image size."""

CLASSIFIER_PREFIXES = ("blocks.4.", "conv_head.", "norm_head.", "bn2.", "classifier.")
"""Parameters of the published classifier that come after the 1/32 features."""

# One row a universal inverted bottleneck:
# (kernel before expansion, kernel after expansion, stride, expansion, output channels), 0 = none.
_STAGE_2 = ((5, 5, 2, 3, 96), *((0, 3, 1, 2, 96),) * 4, (3, 0, 1, 4, 96))
_STAGE_3 = (
    (3, 3, 2, 6, 128),
    (5, 5, 1, 4, 128),
    (0, 5, 1, 4, 128),
    (0, 5, 1, 3, 128),
    (0, 3, 1, 4, 128),
    (0, 3, 1, 4, 128),
)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and, unless told otherwise, ReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.act = nn.ReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c_in,h,w] to float[b,c_out,h/stride,w/stride]."""
        conv = self.conv
        quick = max(conv.kernel_size) > 3 or conv.stride != (1, 1)
        if self.training and conv.groups > 1 and quick and x.device.type == "cpu":
            stride, padding = conv.stride[0], conv.kernel_size[0] // 2
            y = DepthwiseConvolution.apply(x, conv.weight, stride, padding)  # type: ignore[no-untyped-call]
            return self.act(self.bn(y))
        return self.act(self.bn(conv(x)))


class ConvBlock(nn.Module):
    """A plain convolution block; its batch norm is called `bn1`, as in the checkpoints."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c_in,h,w] to float[b,c_out,h/stride,w/stride]."""
        return self.act(self.bn1(self.conv(x)))


class UniversalInvertedBottleneck(nn.Module):
    """[depthwise] -> 1x1 expand -> [depthwise] -> 1x1 project, with a skip where shapes allow.

    Args:
        c_in: Input channels.
        c_out: Output channels.
        kernel_start: Size of the depthwise convolution before the expansion, 0 = none.
        kernel_mid: Size of the depthwise convolution after it, 0 = none; carries the stride.
        stride: 1 or 2.
        expansion: Width of the middle as a multiple of `c_in`.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel_start: int,
        kernel_mid: int,
        stride: int,
        expansion: int,
    ) -> None:
        super().__init__()
        c_mid = c_in * expansion
        stride_start = 1 if kernel_mid else stride
        self.dw_start = (
            ConvNorm(c_in, c_in, kernel_start, stride_start, groups=c_in, act=False)
            if kernel_start
            else nn.Identity()
        )
        self.pw_exp = ConvNorm(c_in, c_mid, 1)
        self.dw_mid = (
            ConvNorm(c_mid, c_mid, kernel_mid, stride, groups=c_mid)
            if kernel_mid
            else nn.Identity()
        )
        self.pw_proj = ConvNorm(c_mid, c_out, 1, act=False)
        self.has_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[b,c_in,h,w] to float[b,c_out,h/stride,w/stride]."""
        y = self.pw_proj(self.dw_mid(self.pw_exp(self.dw_start(x))))
        return x + y if self.has_skip else y


def _stage(c_in: int, rows: tuple[tuple[int, int, int, int, int], ...]) -> nn.Sequential:
    blocks = []
    for start, mid, stride, expansion, c_out in rows:
        blocks.append(UniversalInvertedBottleneck(c_in, c_out, start, mid, stride, expansion))
        c_in = c_out
    return nn.Sequential(*blocks)


class MobileNetV4ConvSmall(nn.Module):
    """The feature extractor of `mobilenetv4_conv_small`, up to the 1/32 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(
            nn.Sequential(ConvBlock(32, 32, 3, 2), ConvBlock(32, 32, 1, 1)),
            nn.Sequential(ConvBlock(32, 96, 3, 2), ConvBlock(96, 64, 1, 1)),
            _stage(64, _STAGE_2),
            _stage(96, _STAGE_3),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the features of a normalised image.

        Args:
            x: float[b,3,h,w], ImageNet-normalised, h and w multiples of 32.

        Returns:
            Five tensors float[b,c,h/k,w/k], k = 2, 4, 8, 16, 32, c = `ENCODER_CHANNELS`.
        """
        features = [self.act1(self.bn1(self.conv_stem(x)))]
        for stage in self.blocks:
            features.append(stage(features[-1]))
        return features
