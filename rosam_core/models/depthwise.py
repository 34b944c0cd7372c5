"""Depthwise convolution whose backward pass is quick on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class DepthwiseConvolution(torch.autograd.Function):
    """The numbers of `conv2d(x, weight, None, stride, padding, groups=channels)`, trained faster.

    Torch's gradient of a depthwise kernel takes several times as long on a CPU as the convolution
    itself, in bfloat16 or with a stride above all. Here it is one product and sum for each of the
    kernel's elements, over the strided positions only; the gradient of the input is a convolution
    with the mirrored kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Maps float[b,c,h,w] with kernels float[c,1,k,k], k odd, to float[b,c,h',w']."""
        y = functional.conv2d(x, weight, None, stride, padding, groups=x.shape[1])
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Returns the gradients of `x` and `weight`."""
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        c, k = weight.shape[0], weight.shape[-1]
        h, w = gradient.shape[-2:]
        stride = ctx.stride
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            spread = gradient
            if stride > 1:
                spread = gradient.new_zeros(*x.shape).contiguous(memory_format=torch.channels_last)
                spread[..., : h * stride : stride, : w * stride : stride] = gradient
            mirrored = weight.to(gradient.dtype).flip(2, 3)
            of_input = functional.conv2d(
                spread, mirrored, None, 1, k - 1 - ctx.padding, groups=c
            ).to(x.dtype)
        if ctx.needs_input_grad[1]:
            last = gradient.permute(0, 2, 3, 1).contiguous()
            padded = functional.pad(x.to(gradient.dtype), (ctx.padding,) * 4)
            padded = padded.permute(0, 2, 3, 1).contiguous()
            taps = []
            for row in range(k):
                rows = padded[:, row : row + (h - 1) * stride + 1 : stride]
                for column in range(k):
                    seen = rows[:, :, column : column + (w - 1) * stride + 1 : stride]
                    taps.append((seen * last).sum((0, 1, 2), dtype=weight.dtype))
            of_weight = torch.empty_like(weight)  # in its layout, which gradient buckets expect
            of_weight.copy_(torch.stack(taps, 1).view(c, 1, k, k))
        return of_input, of_weight, None, None
