"""Student and teacher networks."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from rosam_core.models.light import LightStudent
from rosam_core.models.monodepth2 import Monodepth2Student
from rosam_core.models.resnet18 import ResNet18Student

MODELS = {
    "light": LightStudent,
    "resnet18": ResNet18Student,
    "monodepth2": Monodepth2Student,
}
"""Every student by the name that recipes and model cards use."""


def create_model(name: str, **options: Any) -> nn.Module:
    """Returns a student with random weights.

    Its `forward(images float[b,3,h,w] in [0, 1], RGB)`, h and w multiples of 32, returns:
    `"inverse_depth"` float[b,1,h,w] [1/m] for the canonical focal length, `"log_b"`
    float[b,1,h,w], log of the Laplace scale of log depth; `"features"`: of the decoder,
    float[b,c,h/k,w/k] for k = 2, 4, 8; and, in training mode, `"scales"`: a list of (log_depth,
    log_b) pairs, float[b,1,h/k,w/k], finest first.

    Args:
        name: A key of `MODELS`.
        **options: Passed to the class.

    Raises:
        ValueError: There is no such model.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise ValueError(f"no model named '{name}'{hint}; there are: {', '.join(MODELS)}")
    return MODELS[name](**options)
