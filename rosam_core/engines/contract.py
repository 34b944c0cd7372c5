"""What every model file must look like, checked in one place for every engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rosam_core.types import Float32, ModelCard, UInt8, card_path, file_sha256

INPUT_NAME = "image"
OUTPUT_NAMES = ("depth", "confidence")


@dataclasses.dataclass(frozen=True)
class Port:
    """One input or output of a model file.

    Attributes:
        name: Name in the file.
        dtype: numpy's name of the element type, such as `"uint8"`.
        shape: Dimensions; None where the file leaves them open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Returns `name dtype[shape]` with `?` for open dimensions."""
        sizes = ",".join("?" if size is None else str(size) for size in self.shape)
        return f"`{self.name}` {self.dtype}[{sizes}]"


def load_card(model: Path, verify: bool = True) -> ModelCard:
    """Reads the card beside a model file.

    Args:
        model: The ONNX file.
        verify: Compare the card's sha256 with the file's.

    Raises:
        FileNotFoundError: The model or its card is not there.
        ValueError: The card is malformed or belongs to another file.
    """
    if not model.is_file():
        what = "a folder, not a model file" if model.is_dir() else "no such file"
        raise FileNotFoundError(
            f"model {model}: {what}: give the .onnx file that `rosam export` wrote"
        )
    card = ModelCard.load(card_path(model))
    if verify:
        found = file_sha256(model)
        if found != card.sha256:
            raise ValueError(
                f"model {model} has sha256 {found[:12]}..., its card {card_path(model).name} "
                f"says {str(card.sha256)[:12]}...: the two do not belong together or the copy is "
                "damaged; copy both files again or run `rosam export` again"
            )
    return card


def check_ports(
    model: Path, card: ModelCard, inputs: Sequence[Port], outputs: Sequence[Port]
) -> None:
    """Refuses a model whose inputs and outputs are not the contract's.

    Args:
        model: The model file, for the message.
        card: Its card.
        inputs: What the file takes.
        outputs: What the file gives.

    Raises:
        ValueError: Names what was found and what was expected.
    """
    height, width = card.input_height, card.input_width
    wanted_inputs = [Port(INPUT_NAME, "uint8", (None, height, width, 3))]
    wanted_outputs = [Port(name, "float32", (None, 1, height, width)) for name in OUTPUT_NAMES]
    _check(model, "input", inputs, wanted_inputs, allow_open=False)
    _check(model, "output", outputs, wanted_outputs, allow_open=True)


def _check(
    model: Path, kind: str, found: Sequence[Port], wanted: Sequence[Port], allow_open: bool
) -> None:
    by_name = {port.name: port for port in found}
    remedy = "export the model with `rosam export`, which keeps the contract"
    if set(by_name) != {port.name for port in wanted}:
        raise ValueError(
            f"model {model}: {kind}s are {', '.join(map(str, found))}; expected "
            f"{', '.join(map(str, wanted))}: {remedy}"
        )
    for want in wanted:
        have = by_name[want.name]
        if have.shape and have.shape[0] is not None:
            raise ValueError(
                f"model {model}: {kind} {have} has a fixed batch of {have.shape[0]}; expected a "
                f"dynamic batch: {remedy}"
            )
        same = len(have.shape) == len(want.shape) and all(
            h == w or (h is None and allow_open)
            for h, w in zip(have.shape[1:], want.shape[1:], strict=True)
        )
        if have.dtype != want.dtype or not same:
            raise ValueError(
                f"model {model}: {kind} is {have}, but its card and the contract say {want}: "
                f"{remedy}"
            )


def check_images(images: UInt8, card: ModelCard) -> None:
    """Refuses a batch that is not uint8[N,H,W,3] of network size.

    Args:
        images: The batch given to an engine.
        card: The model's card.

    Raises:
        ValueError: Names the dtype and shape found and expected.
    """
    size = (card.input_height, card.input_width, 3)
    if images.dtype != "uint8" or images.ndim != 4 or images.shape[1:] != size or not len(images):
        raise ValueError(
            f"engine needs uint8[N,{size[0]},{size[1]},3] with N >= 1, got {images.dtype}"
            f"{list(images.shape)}: resize with rosam_core.runtime.preprocess"
        )


def check_answer(model: Path, card: ModelCard, batch: int, outputs: Sequence[Float32]) -> None:
    """Refuses an answer that is not float32[N,1,H,W] twice, whatever the file promised.

    Args:
        model: The model file, for the message.
        card: Its card.
        batch: Number of images given.
        outputs: Depth and confidence as the engine returned them.

    Raises:
        ValueError: Names the shape found and expected.
    """
    wanted = (batch, 1, card.input_height, card.input_width)
    for name, output in zip(OUTPUT_NAMES, outputs, strict=True):
        if output.dtype != "float32" or output.shape != wanted:
            raise ValueError(
                f"model {model}: `{name}` came out as {output.dtype}{list(output.shape)}; "
                f"expected float32{list(wanted)}: export it again with `rosam export`"
            )
