"""Batches of training samples, from any step on, the same whatever loads them."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import cv2
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

log = logging.getLogger(__name__)

MOST_DAMAGED = 8
"""After so many unreadable samples in a row training ends: then more than a file is wrong."""


class Samples(Protocol):
    """An endless sequence of training samples, the same from any process."""

    is_metric: bool
    """Metres are known, so that what is trained on them predicts metres."""

    def __getitem__(self, position: int) -> dict[str, npt.NDArray[Any]]:
        """Returns sample `position` >= 0; images as uint8[3,h,w], and `focal` float32[]."""
        ...

    def name(self, position: int) -> str:
        """Returns drive/frame of a sample, for messages."""
        ...


def batches(
    samples: Samples,
    step: int,
    size: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """Yields the batches of steps `step`, `step + 1`, ... for ever.

    Args:
        samples: Where they come from.
        step: First optimisation step.
        size: Samples in a batch, of one training process.
        workers: Loader processes; 0 loads in this one.
        rank: Number of this training process.
        world: Number of training processes.
        pin_memory: For copies to a GPU.
    """
    loader: DataLoader[dict[str, Any]] = DataLoader(
        _Samples(samples),
        batch_sampler=_Positions(step, size, rank, world),
        num_workers=workers,
        worker_init_fn=_start_worker if workers else None,
        prefetch_factor=3 if workers else None,
        pin_memory=pin_memory,
        # Its own generator: a loader draws a seed when it starts, which would shift the global
        # one of a resumed run.
        generator=torch.Generator(),
    )
    yield from loader


def to_device(
    batch: Mapping[str, Tensor], device: torch.device, channels_last: bool = False
) -> dict[str, Tensor]:
    """Returns a batch on a device, its uint8 images as float in [0, 1]."""
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for name, tensor in moved.items():
        if tensor.dtype == torch.uint8:  # images
            moved[name] = tensor.float() / 255
            if tensor.ndim == 4:
                moved[name] = moved[name].contiguous(memory_format=layout)
    return moved


class _Samples(Dataset[dict[str, Any]]):
    """Torch's view of samples; in place of one that cannot be read comes the one after it.

    So sample `p` still depends on the files and on `p` only. Each is named and counted.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._left_out = multiprocessing.Value("q", 0)  # of all loader processes

    def __getitem__(self, position: int) -> dict[str, Any]:
        for place in range(position, position + MOST_DAMAGED - 1):
            try:
                return self.samples[place]
            except (ValueError, OSError) as error:
                with self._left_out:
                    self._left_out.value += 1
                    count = self._left_out.value
                log.warning(
                    "sample %s is left out, the next one comes instead (%d times so far): %s",
                    self.samples.name(place),
                    count,
                    error,
                )
        return self.samples[position + MOST_DAMAGED - 1]


class _Positions:
    """Endless batches of sample numbers, each process its own part of every step's."""

    def __init__(self, step: int, size: int, rank: int, world: int) -> None:
        self.step, self.size, self.rank, self.world = step, size, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        step = self.step
        while True:
            first = (step * self.world + self.rank) * self.size
            yield list(range(first, first + self.size))
            step += 1


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the trainer's handler, inherited by fork
