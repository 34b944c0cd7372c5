"""A tiny Segment-Anything of the library's own classes, and what it needs of torchvision."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

IMAGE_SIZE, EMBED = 64, 32


def _batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """Returns the indices that are kept, best first; all boxes are of one category here."""
    import torch

    assert not idxs.any()
    left, kept = scores.argsort(descending=True, stable=True).tolist(), []
    while left:
        best = left.pop(0)
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[left, :2])
        high = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        common = (high - low).clamp(min=0).prod(-1)
        union = _box_area(boxes[[best]]) + _box_area(boxes[left]) - common
        left = [
            index for index, iou in zip(left, common / union, strict=True) if iou <= iou_threshold
        ]
    return torch.tensor(kept, dtype=torch.long)


def _box_area(boxes: Any) -> Any:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _resize(image: Any, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA))


@contextlib.contextmanager
def _stand_in() -> Iterator[None]:
    """Answers `import torchvision` with the four functions that segment-anything uses."""
    names = ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional")
    modules = {f"torchvision{name}": types.ModuleType(f"torchvision{name}") for name in names}
    boxes: Any = modules["torchvision.ops.boxes"]
    boxes.batched_nms, boxes.box_area = _batched_nms, _box_area
    functional: Any = modules["torchvision.transforms.functional"]
    functional.resize, functional.to_pil_image = _resize, np.asarray
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def import_segment_anything() -> Any:
    """Returns the library, or skips the test where it or torch is absent.

    torchvision of the package index needs CUDA's libraries, so that it does not import beside a
    torch for CPUs.
    """
    pytest.importorskip("torch")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        with _stand_in():
            return pytest.importorskip("segment_anything")
    return pytest.importorskip("segment_anything")


def tiny_sam(checkpoint: None = None, seed: int = 0) -> Any:
    """Returns a `Sam` with random weights for images of 64 pixels, built as the real ones are."""
    import torch

    modeling = import_segment_anything().modeling
    torch.manual_seed(seed)
    grid = (IMAGE_SIZE // 16, IMAGE_SIZE // 16)
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=2,
            embed_dim=EMBED,
            img_size=IMAGE_SIZE,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=2,
            use_rel_pos=True,
            global_attn_indexes=(1,),
            window_size=3,
            out_chans=EMBED,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=EMBED,
            image_embedding_size=grid,
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=4,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=EMBED, mlp_dim=32, num_heads=2
            ),
            transformer_dim=EMBED,
            iou_head_depth=2,
            iou_head_hidden_dim=16,
        ),
    ).eval()
