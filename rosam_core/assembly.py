"""From a recipe to what the training loop needs: samples, networks and the method."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt
from torch import nn

from rosam_core.checkpoint import load_student_weights
from rosam_core.drives.training_samples import (
    TrainingSamples,
    ValidationSamples,
    find_training_drives,
    shared_worlds,
)
from rosam_core.methods.base import Method
from rosam_core.methods.supervised import Supervised
from rosam_core.models import create_model
from rosam_core.recipe import Recipe

log = logging.getLogger(__name__)


class Samples(Protocol):
    """An endless sequence of training samples, the same from any process."""

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[Any]]:
        """Returns sample `position` >= 0; images as uint8[3,h,w], and `focal` float32[]."""
        ...

    def name(self, position: int) -> str:
        """Returns drive/frame of a sample, for messages."""
        ...


def training_data(recipe: Recipe) -> tuple[Samples, ValidationSamples]:
    """Returns the samples to train on, and those to validate with.

    Raises:
        FileNotFoundError: Drives are missing.
        ValueError: They cannot be read, or do not fit the recipe.
    """
    data = recipe.data
    size = (data.width, data.height)
    drives, held_out = (find_training_drives(d) for d in (data.drives, data.val_drives))
    if shared := shared_worlds(drives, held_out):
        log.warning("%d validation worlds are training worlds too: %s", len(shared), shared)
    samples = TrainingSamples(
        drives, size, data.target, recipe.augmentation, recipe.seed, data.condition_weights
    )
    return samples, ValidationSamples(held_out, size, data.target, recipe.train.val_samples)


def networks(recipe: Recipe) -> dict[str, nn.Module]:
    """Returns every network that is trained, by name; the one that ships is `"student"`.

    Raises:
        FileNotFoundError: Weights to start from are missing.
        ValueError: They are of another network, or there is no such model.
    """
    student = create_model(recipe.model.name, encoder_checkpoint=recipe.model.encoder_checkpoint)
    if recipe.model.init:
        load_student_weights(student, recipe.model.init)
    return {"student": student}


def create_method(recipe: Recipe, trained: Mapping[str, nn.Module]) -> Method:
    """Returns the method of a recipe.

    Args:
        recipe: Names it and holds its options.
        trained: `networks(recipe)`, on the device, wrapped for several processes.
    """
    return Supervised(trained["student"], recipe.supervised)
