"""What both students share: input normalisation, output parametrisation, checkpoint loading."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Bounds of the network's own output: wide enough never to bind on a road, tight enough that
# exp() of an untrained network stays finite in half precision.
LOG_DEPTH_RANGE = (math.log(0.1), math.log(2000.0))
LOG_B_RANGE = (math.log(0.01), math.log(2.0))
INITIAL_DEPTH_M = 15.0
INITIAL_B = 0.3


class ImageNormalisation(nn.Module):
    """Maps RGB in [0, 1] to the zero-mean, unit-variance colours of ImageNet."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float[b,3,h,w] in [0, 1] to float[b,3,h,w]."""
        return (images - self.mean) / self.std


class HeadConv(nn.Conv2d):
    """A convolution that mixed precision leaves in float32, for what a network answers.

    bfloat16 has 8 bits: of log depths between 2 and 4, which are 7 to 55 m, it knows every 64th,
    so that a depth is off by up to 0.8 % and neighbours differ by 1.6 % or not at all.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps float[b,c_in,h,w] of any precision to float[b,c_out,h,w]."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):  # nor in what is exported
            return super().forward(input)
        with torch.autocast(kind, enabled=False):
            return super().forward(input.float())


def initialise_head(conv: nn.Conv2d) -> None:
    """Starts a head (log depth, log b, what is added to these) at a constant, plausible output."""
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    with torch.no_grad():
        conv.bias.zero_()
        conv.bias[:2] = torch.tensor([math.log(INITIAL_DEPTH_M), math.log(INITIAL_B)])


def split_head(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log depth and log b, each float[b,1,h,w], bounded, from a head's float[b,2,h,w]."""
    raw = raw.float()
    return raw[:, :1].clamp(*LOG_DEPTH_RANGE), raw[:, 1:].clamp(*LOG_B_RANGE)


def student_output(
    heads: Sequence[Tensor], features: Sequence[Tensor], size: tuple[int, int], training: bool
) -> dict[str, Tensor | list[Tensor] | list[tuple[Tensor, Tensor]]]:
    """Returns what every student's `forward` returns (see `rosam_core.models.create_model`).

    Args:
        heads: Raw float[b,2,h/k,w/k], finest first.
        features: Of the decoder, float[b,c,h/k,w/k] for k = 2, 4, 8.
        size: Height and width of the input [px].
        training: Add `"scales"`.
    """
    finest = heads[0].float()
    if tuple(finest.shape[-2:]) != tuple(size):
        finest = functional.interpolate(finest, size=size, mode="bilinear", align_corners=False)
    log_depth, log_b = split_head(finest)
    output: dict[str, Tensor | list[Tensor] | list[tuple[Tensor, Tensor]]] = {
        "inverse_depth": torch.exp(-log_depth),
        "log_b": log_b,
        "features": list(features),
    }
    if training:
        output["scales"] = [(log_depth, log_b), *(split_head(raw) for raw in heads[1:])]
    return output


def load_encoder(
    encoder: nn.Module, checkpoint: str | Path, ignored_prefixes: tuple[str, ...]
) -> None:
    """Loads a published ImageNet checkpoint into an encoder; every parameter must match.

    Args:
        encoder: The module to fill.
        checkpoint: A `.pth`/`.bin` state dictionary or a `.safetensors` file.
        ignored_prefixes: Parameters of the classifier, which the encoder does not have.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or names or shapes differ; the message lists the first.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(
            f"no encoder checkpoint at {path}: give the path of a file downloaded beforehand"
        )
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            raise ValueError(f"reading {path} needs `pip install safetensors`") from error
        reader: Callable[[Path], Any] = load_file
    else:
        reader = functools.partial(torch.load, map_location="cpu", weights_only=True)
    try:
        state = reader(path)
    except Exception as error:  # damage shows as one of half a dozen types, by file format
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ValueError(f"{path} is not a readable checkpoint: {reason}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state dictionary (parameter name to tensor)")
    state = {k: v for k, v in state.items() if not k.startswith(ignored_prefixes)}
    own = encoder.state_dict()
    optional = {k for k in own if k.endswith("num_batches_tracked")}  # absent from old files
    missing = sorted(set(own) - set(state) - optional)
    unknown = sorted(set(state) - set(own))
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or unknown or shapes:
        raise ValueError(
            f"{path} does not fit {type(encoder).__name__}: missing {missing[:3]}, unknown "
            f"{unknown[:3]}, other shape {shapes[:3]} ({len(missing)}, {len(unknown)} and "
            f"{len(shapes)} in all)"
        )
    encoder.load_state_dict({**own, **state})


def freeze_norms(network: nn.Module) -> None:
    """Lets batch norms normalise by the statistics they have, not by those of the batch.

    A small batch of one drive is unlike what a network was trained on: its statistics alone move
    the output, and training then mends what they broke. Gains and shifts are trained on.

    Args:
        network: In training mode, which it stays in otherwise; calling `train()` undoes this.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
