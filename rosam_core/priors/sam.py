"""Regions from Segment-Anything: every mask its automatic generator finds in an image.

RoSAMDepth (CVPR 2026) uses ViT-H with the generator's defaults, offline. The package
`segment-anything`, torch and a checkpoint, by path, are needed only here.
"""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from rosam_core.priors.region_map import region_map
from rosam_core.priors.source import RegionSettings, RegionSource, require
from rosam_core.types import UInt16, file_sha256

if TYPE_CHECKING:
    import torch

MODELS = {"vit_h": 1280, "vit_l": 1024, "vit_b": 768}
"""Channels of the image encoder of each model, by which a checkpoint is recognised."""

POINTS_PER_BATCH = 64
INSTALL = "in a checkout, pip install -c constraints.txt '.[train,sam]'"


@dataclasses.dataclass(frozen=True)
class SamSettings(RegionSettings):
    """The model and its generator; the defaults are the generator's, as the paper states.

    Attributes:
        overlap_rule: Which of two masks keeps a pixel: `largest` (the paper) or `smallest`.
        model: `vit_h` (the paper), `vit_l` or `vit_b`.
        precision: `full` is float32; `half` runs the image encoder, most of the work, in float16
            on a GPU and bfloat16 on a CPU.
        points_per_side: The image is asked at a grid of so many points squared.
        pred_iou_thresh: Masks that the model rates lower are dropped, in [0, 1].
        stability_score_thresh: So are masks that change more with the threshold, in [0, 1].
        stability_score_offset: By how much the threshold is moved for that.
        box_nms_thresh: Of two masks whose boxes overlap more (IoU), the worse is dropped.
        crop_n_layers: Layers of crops that are searched besides; each doubles the crops a side.
        crop_nms_thresh: `box_nms_thresh` between crops.
        crop_overlap_ratio: Overlap of crops, as a share of the image's shorter side.
        crop_n_points_downscale_factor: In each layer, the grid has so many times fewer points.
        min_mask_region_area: Smaller islands and holes of masks are removed [px].
    """

    overlap_rule: str = "largest"
    model: str = "vit_h"
    precision: str = "full"
    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0

    def check(self) -> None:
        """Refuses values without a meaning."""
        super().check()
        if self.model not in MODELS:
            raise ValueError(f"model must be vit_h, vit_l or vit_b, got {self.model!r}")
        if self.precision not in ("full", "half"):
            raise ValueError(f"precision must be full or half, got {self.precision!r}")
        require(self, "points_per_side", 1, 1000)
        for name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "crop_overlap_ratio",
        ):
            require(self, name, 0, 1)
        require(self, "stability_score_offset", 0, 1e3)
        require(self, "crop_n_layers", 0, 5)
        require(self, "crop_n_points_downscale_factor", 1, self.points_per_side)
        require(self, "min_mask_region_area", 0, 1e9)

    def generator_settings(self) -> dict[str, Any]:
        """Returns what `SamAutomaticMaskGenerator` is told, besides the points in a batch."""
        ours = ("min_region_share", "overlap_rule", "model", "precision")
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in ours}


class SamSource(RegionSource):
    """Masks of one Segment-Anything model."""

    name: ClassVar[str] = "sam"
    Settings: ClassVar[type[RegionSettings]] = SamSettings

    def __init__(
        self,
        model: Any,
        settings: SamSettings | None = None,
        points_per_batch: int | None = None,
        checkpoint_sha256: str = "",
    ) -> None:
        """Prepares the generator.

        Args:
            model: A `segment_anything.modeling.Sam`, on its device.
            settings: Of the generator and the map; the defaults if None.
            points_per_batch: Points decoded at once: more is faster and needs more GPU memory;
                None is the library's 64.
            checkpoint_sha256: Of the weights, for the record.

        Raises:
            ValueError: `points_per_batch` is below 1.
        """
        self.settings: SamSettings = settings or SamSettings()
        self.checkpoint_sha256 = checkpoint_sha256
        self.points_per_batch = POINTS_PER_BATCH if points_per_batch is None else points_per_batch
        if self.points_per_batch < 1:
            raise ValueError(f"--points-per-batch must be at least 1, got {points_per_batch}")
        model.eval()
        if self.settings.precision == "half":
            model.image_encoder = _half_encoder(model.image_encoder)
        self.generator = _generator_class()(
            model, points_per_batch=self.points_per_batch, **self.settings.generator_settings()
        )

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        settings: SamSettings,
        device: str = "cpu",
        points_per_batch: int | None = None,
    ) -> SamSource:
        """Returns the source with weights from a file.

        Args:
            checkpoint: Weights as published with the paper Segment Anything.
            settings: Of the model, the generator and the map.
            device: A torch device.
            points_per_batch: See the constructor.

        Raises:
            ValueError: A package is missing, there is no such device, or the file holds no
                weights of this model.
            FileNotFoundError: There is no such file.
        """
        if not checkpoint.is_file():
            raise FileNotFoundError(f"no checkpoint at {checkpoint}; see docs/masks.md")
        try:
            import torch
            from segment_anything import sam_model_registry
        # A torchvision built for another torch raises RuntimeError, one without CUDA's libraries
        # OSError.
        except (ImportError, RuntimeError, OSError) as error:
            raise ValueError(
                f"--source sam needs torch, torchvision built for it, and segment-anything "
                f"({error}): {INSTALL}"
            ) from error
        where = _device(device)
        try:
            weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise ValueError(f"{checkpoint} is no checkpoint of torch: {error}") from error
        _check_model(checkpoint, weights, settings.model)
        model = sam_model_registry[settings.model]()
        try:
            model.load_state_dict(weights)
        except (RuntimeError, TypeError) as error:
            first = str(error).split("\n")[:2]
            raise ValueError(
                f"{checkpoint} holds no weights of {settings.model}: {' '.join(first)}"
            ) from error
        return cls(model.to(where), settings, points_per_batch, file_sha256(checkpoint))

    def regions(self, seen: npt.NDArray[Any]) -> UInt16:
        """Returns the region map of an image, uint16[H,W].

        Raises:
            ValueError: The points in a batch are too many for the memory.
        """
        s = self.settings
        masks = [found["segmentation"] for found in self._generate(np.ascontiguousarray(seen))]
        return region_map(masks, seen.shape[:2], s.overlap_rule, s.min_region_share)

    def described(self) -> dict[str, Any]:
        """Returns the settings and which weights."""
        return {**super().described(), "checkpoint_sha256": self.checkpoint_sha256}

    def _generate(self, image: npt.NDArray[Any]) -> list[dict[str, Any]]:
        import torch

        try:
            found: list[dict[str, Any]] = self.generator.generate(image)
            return found
        except RuntimeError as error:
            # Beyond INT_MAX pixels in a batch of masks, torch cannot list those set.
            if isinstance(error, torch.cuda.OutOfMemoryError) or "INT_MAX" in str(error):
                raise MemoryLimitError(
                    f"{self.points_per_batch} points at once are too many for "
                    f"{image.shape[1]}x{image.shape[0]}: use a smaller --points-per-batch"
                ) from error
            raise


class MemoryLimitError(ValueError):
    """No frame of this size will do, so that a run stops instead of going on."""


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # Builds without CUDA raise AssertionError.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"--device {name}: {reason}") from error
    return device


def _check_model(checkpoint: Path, weights: Any, model: str) -> None:
    """Refuses weights of another model, by the width of the encoder."""
    known = {width: name for name, width in MODELS.items()}
    positions = weights.get("image_encoder.pos_embed") if isinstance(weights, dict) else None
    found = known.get(positions.shape[-1]) if positions is not None else None
    if found is not None and found != model:
        raise ValueError(f"{checkpoint} holds a {found}: add model={found}")


def _generator_class() -> Any:
    """Returns the library's generator, which fails on crops if no mask is found in any of them."""
    from segment_anything import SamAutomaticMaskGenerator

    class Generator(SamAutomaticMaskGenerator):  # type: ignore[misc]
        """The same for images without a mask."""

        def _process_crop(self, *arguments: Any) -> Any:
            found = super()._process_crop(*arguments)
            found["crop_boxes"] = found["crop_boxes"].reshape(-1, 4)
            return found

    return Generator


def _half_encoder(encoder: Any) -> Any:
    """Returns an image encoder that works in half precision and gives float32.

    Prompts and masks stay in float32: a position in half precision is known to a pixel only, and
    the image encoder is where the time goes.
    """
    import torch

    class HalfEncoder(torch.nn.Module):
        """The same encoder under autocast."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.img_size = encoder.img_size

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            """Returns the embedding of an image, float32."""
            kind = image.device.type
            dtype = torch.bfloat16 if kind == "cpu" else torch.float16
            with torch.autocast(kind, dtype):
                features: torch.Tensor = self.encoder(image)
            return features.float()

    return HalfEncoder()
