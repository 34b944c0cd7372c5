"""Everything a training run can be told, with its defaults."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
from pathlib import Path
from typing import Any

import yaml

from rosam_core.config import from_mapping, to_yaml
from rosam_core.drives.augmentation import AugmentationOptions
from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.recorded_samples import ViewOptions
from rosam_core.drives.training_samples import DepthTarget
from rosam_core.methods.rosam_depth import RosamOptions
from rosam_core.methods.self_supervised import SelfSupervisedOptions
from rosam_core.methods.supervised import SupervisedOptions
from rosam_core.methods.syn2real import AdaptationOptions
from rosam_core.types import CONDITIONS

log = logging.getLogger(__name__)

METHODS = (
    "supervised",
    "self_supervised",
    "synthetic_adaptation",
    "real_adaptation",
    "rosam_depth",
)
"""Every method by the name that recipes use."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Those of Lightning Fabric that leave what a network answers in float32."""


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which network, and what it starts from."""

    name: str = "light"  # light | resnet18
    encoder_checkpoint: str | None = None  # ImageNet weights as timm/torchvision name them
    init: str | None = None  # start from a checkpoint's averaged weights, or an exported .onnx
    pose_checkpoint: str | None = None  # ImageNet ResNet-18 of the pose network
    pose_scale: float = 1.0  # size at which the pose network sees the images; 0.5 costs a quarter


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """How drives are read by what learns from video; see `rosam drive info --help`."""

    kind: str = "auto"
    conditions: str = ""  # only frames of these, as in day-clear,unknown; "" = all
    fov_deg: float | None = None  # of images, a video or a bag without intrinsics
    nuscenes_split: str | None = None
    nuscenes_camera: str | None = None  # one, such as CAM_FRONT; null = all six
    nuscenes_sweeps: bool = False  # 12 Hz instead of 2 Hz
    robotcar_split: str | None = None
    regions: str | None = None  # folder that `rosam masks` wrote
    camera_height_m: float | None = None  # above the ground; null = as the drive knows it
    view: ViewOptions = dataclasses.field(default_factory=ViewOptions)
    neighbours: NeighbourOptions = dataclasses.field(default_factory=NeighbourOptions)

    def __post_init__(self) -> None:
        height = self.camera_height_m
        if height is not None and not 0 < height < math.inf:
            raise ValueError(f"data.video.camera_height_m must be positive, got {height}")
        unknown = [name for name in self.condition_names() if name not in CONDITIONS]
        if unknown:
            raise ValueError(
                f"data.video.conditions={self.conditions}: {', '.join(unknown)} is none of "
                + ", ".join(CONDITIONS)
            )

    def condition_names(self) -> list[str]:
        """Returns the conditions, none for all."""
        return [name.strip() for name in self.conditions.split(",") if name.strip()]


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Which drives, and at what size."""

    drives: str = "data/synthetic/train"  # of `rosam synth`, or, for video, any
    val_drives: str | None = "data/synthetic/val"  # held out, with depth; null = no validation
    val_split: str | None = None  # of nuScenes or RobotCar val_drives, such as val
    width: int = 320
    height: int = 192
    canonical_focal_px: float = 288.0  # focal length, at network size, of metric output
    min_depth_m: float = 0.5
    max_depth_m: float = 100.0
    condition_weights: dict[str, float] = dataclasses.field(default_factory=dict)  # default 1
    video: VideoOptions = dataclasses.field(default_factory=VideoOptions)
    workers: int = 1  # loader processes; 0 loads in the training process

    def __post_init__(self) -> None:
        if self.width % 32 or self.height % 32 or min(self.width, self.height) < 64:
            raise ValueError(
                f"network size must be multiples of 32, at least 64: {self.width}x{self.height}"
            )

    @property
    def target(self) -> DepthTarget:
        """Returns how depth becomes a training target."""
        return DepthTarget(self.canonical_focal_px, self.min_depth_m, self.max_depth_m)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The loop."""

    steps: int = 20000
    max_minutes: float | None = None  # the schedule then ends at this training time, if earlier
    batch_size: int = 8  # per process
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    ema_decay: float = 0.998  # of the weights that are validated and exported
    clip_norm: float = 5.0
    precision: str = "bf16-mixed"  # 32-true | bf16-mixed | 16-mixed, on GPUs without bfloat16
    accelerator: str = "auto"
    frozen_norms: bool = False  # batch norms of the student keep the statistics it starts with
    channels_last: bool = False
    compile: bool = False
    threads: int = 2  # of torch, on a CPU
    log_every: int = 20  # steps
    val_every: int = 1000  # steps
    val_samples: int = 160
    checkpoint_every: int = 500  # steps

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"train.precision is '{self.precision}', expected one of {', '.join(PRECISIONS)}: "
                "log depth in 16 bits is too coarse"
            )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run."""

    method: str = "supervised"
    seed: int = 1
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    data: DataOptions = dataclasses.field(default_factory=DataOptions)
    augmentation: AugmentationOptions = dataclasses.field(default_factory=AugmentationOptions)
    supervised: SupervisedOptions = dataclasses.field(default_factory=SupervisedOptions)
    self_supervised: SelfSupervisedOptions = dataclasses.field(
        default_factory=SelfSupervisedOptions
    )
    adaptation: AdaptationOptions = dataclasses.field(default_factory=AdaptationOptions)
    rosam_depth: RosamOptions = dataclasses.field(default_factory=RosamOptions)
    train: TrainOptions = dataclasses.field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            close = difflib.get_close_matches(self.method, METHODS, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise ValueError(f"no method named '{self.method}'{hint}: {', '.join(METHODS)}")


MOVABLE = (
    "model.init",
    "model.encoder_checkpoint",
    "model.pose_checkpoint",
    "data.drives",
    "data.val_drives",
    "data.val_split",
    "data.workers",
    "data.video.regions",
    "self_supervised.anchor",
    "adaptation.teacher",
    "adaptation.day",
    "rosam_depth.teacher",
    "rosam_depth.day",
)
"""Where things are, which may be elsewhere when a run goes on."""


def check_resumed(before: str, now: Recipe, out: Path) -> None:
    """Refuses to go on with a run as another one; warns where only the training differs.

    The batch size counts as well: it says which sample is next.

    Args:
        before: `to_yaml` of the recipe that the run began with.
        now: The recipe that it is to go on with.
        out: Folder of the run.

    Raises:
        ValueError: Something that is learnt differs, other than where files are.
    """
    try:
        first = from_mapping(Recipe, yaml.safe_load(before))
    except ValueError as error:
        log.warning("%s began with a recipe of another version: %s", out, error)
        return
    old, new = (_flat(yaml.safe_load(to_yaml(recipe))) for recipe in (first, now))
    differ = [name for name in old if old[name] != new[name] and name not in MOVABLE]
    told = {name: f"{name}={old[name]}, now {new[name]}" for name in differ}
    is_free = {n: n.startswith("train.") and n != "train.batch_size" for n in differ}
    if refused := [told[name] for name in differ if not is_free[name]]:
        raise ValueError(
            f"{out} began with {'; '.join(refused)}: give the same options, or resume with "
            f"rosam train {out / 'recipe.yaml'} --out {out} --resume"
        )
    if told:
        log.warning("%s began with %s", out, "; ".join(told.values()))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the fields of fields by names with dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name != "condition_weights":
            found.update(_flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found
