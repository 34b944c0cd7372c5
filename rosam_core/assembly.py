"""From a recipe to what the training loop needs: samples, networks and the method."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from rosam_core.checkpoint import LICENCE, load_student_weights, student_facts
from rosam_core.drives.augmentation import OBJECTS, VIEW, AugmentationOptions
from rosam_core.drives.base import Drive
from rosam_core.drives.clear_samples import ClearSamples
from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.opening import DriveOptions, find_kind, open_drives
from rosam_core.drives.paired_samples import PairedSamples
from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.drives.training_samples import (
    DriveIndex,
    TrainingSamples,
    ValidationSamples,
    find_training_drives,
    shared_worlds,
)
from rosam_core.drives.video_samples import RecordedValidation, VideoSamples
from rosam_core.evaluation.student import Validation
from rosam_core.loader import Samples
from rosam_core.methods.base import Method
from rosam_core.methods.rosam_depth import RosamDepth, RosamOptions
from rosam_core.methods.self_supervised import SelfSupervised
from rosam_core.methods.supervised import Supervised
from rosam_core.methods.syn2real import AdaptationOptions, RealAdaptation, SyntheticAdaptation
from rosam_core.methods.translated import TranslatedAdaptation
from rosam_core.models import create_model
from rosam_core.models.pose import PoseNetwork
from rosam_core.recipe import Recipe, VideoOptions
from rosam_core.recipe_checks import check_knowledge, check_regions, warn_of_stretching

log = logging.getLogger(__name__)


def training_data(recipe: Recipe) -> tuple[Samples, Validation | None]:
    """Returns the samples to train on, and those to validate with, None if none are named.

    Raises:
        FileNotFoundError: Drives, or the weights of the teacher, are missing.
        ValueError: They cannot be read, or do not fit the recipe.
    """
    _warn_of_unread(recipe)
    samples, validation = _samples(recipe)
    options = recipe.self_supervised
    if recipe.method == "self_supervised" and options.motion == "learned":
        # Nothing but the distances that were driven tells a network of motion what a metre is.
        samples.is_metric = samples.is_metric and options.velocity_weight > 0
    if recipe.method not in ("supervised", "self_supervised"):
        teacher = _adaptation(recipe).teacher
        if teacher:  # a student has its teacher's metres, whatever the drives know
            samples.is_metric = student_facts(teacher).is_metric
    if isinstance(samples, ClearSamples) and not samples.is_metric:
        raise ValueError(
            f"the depth of {recipe.adaptation.teacher} has no scale, so it does not say how thick "
            "fog is: translated weather needs a teacher in metres"
        )
    return samples, validation


def _warn_of_unread(recipe: Recipe) -> None:
    """Says which options of `augmentation` were given and mean nothing to the method."""
    if recipe.method == "supervised":
        return
    is_rendered = recipe.method == "synthetic_adaptation" and weather_of(recipe) == "rendered"
    unread = OBJECTS if is_rendered else (*VIEW, *OBJECTS)
    usual, given = AugmentationOptions(), recipe.augmentation
    changed = [name for name in unread if getattr(given, name) != getattr(usual, name)]
    if changed:
        log.warning(
            "%s does not read augmentation.{%s}%s",
            *(recipe.method, ",".join(changed)),
            "" if is_rendered else ": data.video.view says which part of a picture is shown",
        )


def licence(recipe: Recipe) -> str:
    """Returns the SPDX expression of what the recipe trains: ours, or those it starts from."""
    sources = [recipe.model.init]
    if recipe.method == "self_supervised":
        sources += [recipe.self_supervised.anchor]
    elif recipe.method != "supervised":
        sources += [_adaptation(recipe).teacher, _adaptation(recipe).day]
    found = {student_facts(path).licence for path in sources if path} - {LICENCE}
    return " AND ".join(sorted(found)) or LICENCE


def _samples(recipe: Recipe) -> tuple[Samples, Validation | None]:
    data = recipe.data
    size = (data.width, data.height)
    if recipe.method == "synthetic_adaptation" and weather_of(recipe) == "translated":
        clear = _clear_days(recipe)
        return clear, _validation(recipe, trained=clear.recorded)
    if recipe.method in ("supervised", "synthetic_adaptation"):
        drives = find_training_drives(data.drives)
        kind = TrainingSamples if recipe.method == "supervised" else PairedSamples
        samples: Samples = kind(
            drives, size, data.target, recipe.augmentation, recipe.seed, data.condition_weights
        )
        return samples, _validation(recipe, drives)
    video = data.video
    if data.condition_weights:
        raise ValueError(f"data.condition_weights has no meaning for {recipe.method}")
    recorded = RecordedSamples(
        _recorded_drives(data.drives, video),
        size,
        view=video.view,
        look=recipe.augmentation,
        neighbours=video.neighbours,
        regions=Path(video.regions) if video.regions else None,
        camera_height_m=video.camera_height_m,
        with_depth=False,
        neighbour_looks=False,
        conditions=video.condition_names(),
        seed=recipe.seed,
    )
    warn_of_stretching(recorded)
    samples = VideoSamples(recorded)
    if _needs_poses(recipe) and not samples.is_metric:
        raise ValueError(
            f"no frame of {data.drives} has the pose of a neighbour: use "
            "self_supervised.motion=learned"
        )
    asks_height = recipe.method == "rosam_depth" and recipe.rosam_depth.known_height
    if video.camera_height_m is not None and not asks_height:
        log.warning("data.video.camera_height_m is read by rosam_depth.known_height alone")
    if recipe.method == "rosam_depth":
        check_knowledge(recipe.rosam_depth, samples)
    return samples, _validation(recipe, trained=recorded)


def networks(recipe: Recipe) -> dict[str, nn.Module]:
    """Returns every network that is trained, by name; the one that ships is `"student"`.

    Real adaptation starts from its teacher unless the recipe says otherwise.

    Raises:
        FileNotFoundError: Weights to start from are missing.
        ValueError: They are of another network, or there is no such model.
    """
    model = recipe.model
    student = create_model(model.name, encoder_checkpoint=model.encoder_checkpoint)
    start = model.init
    given = start or model.encoder_checkpoint
    if recipe.train.frozen_norms and recipe.method == "synthetic_adaptation" and not given:
        raise ValueError("train.frozen_norms needs a network that was trained: set model.init")
    if start is None and recipe.method in ("real_adaptation", "rosam_depth"):
        start = _adaptation(recipe).teacher
    if start:
        load_student_weights(student, start)
        if other := _other_focal_length(recipe, start):
            wanted = recipe.data.canonical_focal_px
            log.warning(
                "%s gives metres for a focal length of %g px, data.canonical_focal_px is %g: "
                "pictures of the same size begin with %.2f times the depth",
                *(start, other, wanted, other / wanted),
            )
    if recipe.method == "self_supervised":
        if _needs_poses(recipe):
            return {"student": student}
        return {"student": student, "pose": PoseNetwork(model.pose_checkpoint, model.pose_scale)}
    return {"student": student}


def create_method(
    recipe: Recipe, trained: Mapping[str, nn.Module], device: torch.device
) -> Method:
    """Returns the method of a recipe.

    Args:
        recipe: Names it and holds its options.
        trained: `networks(recipe)`, on the device, wrapped for several processes.
        device: Where the frozen networks go.

    Raises:
        FileNotFoundError: The weights of a frozen network are missing.
        ValueError: They do not fit, or are not named.
    """
    student, focal = trained["student"], recipe.data.canonical_focal_px
    if recipe.method == "supervised":
        return Supervised(student, recipe.supervised)
    if recipe.method == "self_supervised":
        own = recipe.self_supervised
        anchor = _loaded(recipe, own.anchor).to(device) if own.anchor else None
        return SelfSupervised(student, trained.get("pose"), own, focal, anchor).to(device)
    options = _adaptation(recipe)
    teacher = _frozen(recipe, options.teacher, "teacher", device)
    if recipe.method == "synthetic_adaptation":
        if weather_of(recipe) == "translated":
            return TranslatedAdaptation(student, teacher, options, focal).to(device)
        return SyntheticAdaptation(student, teacher, options).to(device)
    day = _frozen(recipe, options.day, "day", device) if options.day else None
    if isinstance(options, RosamOptions):
        check_regions(recipe, options)
        return RosamDepth(student, teacher, day, options, focal).to(device)
    return RealAdaptation(student, teacher, day, options).to(device)


def _needs_poses(recipe: Recipe) -> bool:
    return recipe.method == "self_supervised" and recipe.self_supervised.motion == "recorded"


def weather_of(recipe: Recipe) -> str:
    """Returns where the weather of stage 1 comes from, "rendered" or "translated".

    Raises:
        FileNotFoundError: It follows from the drives, and there are none.
        ValueError: The same, and they are none that we know.
    """
    weather, path = recipe.adaptation.weather, Path(recipe.data.drives)
    if weather == "auto":
        kind = recipe.data.video.kind
        kind = find_kind(path) if kind == "auto" and path.exists() else kind
        weather = "rendered" if kind in ("auto", "synthetic") else "translated"
    return weather


def _clear_days(recipe: Recipe) -> ClearSamples:
    data = recipe.data
    recorded = RecordedSamples(
        _recorded_drives(data.drives, data.video),
        (data.width, data.height),
        view=data.video.view,
        look=recipe.augmentation,
        neighbours=NeighbourOptions(need="none", min_speed_mps=0.0, min_flow_px=0.0),
        with_depth=False,
        neighbour_looks=False,
        conditions=data.video.condition_names(),
        seed=recipe.seed,
    )
    return ClearSamples(recorded, data.condition_weights)


def _adaptation(recipe: Recipe) -> AdaptationOptions:
    return recipe.rosam_depth if recipe.method == "rosam_depth" else recipe.adaptation


def _frozen(recipe: Recipe, weights: str | None, role: str, device: torch.device) -> nn.Module:
    if not weights:
        section = "rosam_depth" if recipe.method == "rosam_depth" else "adaptation"
        raise ValueError(
            f"{recipe.method} needs {section}.{role}: a checkpoint of `rosam train`, or an ONNX "
            "file that `rosam export` wrote"
        )
    if other := _other_focal_length(recipe, weights):
        raise ValueError(
            f"the {role} {weights} gives metres for a focal length of {other:g} px, and what it "
            f"teaches would be taken for {recipe.data.canonical_focal_px:g}: set "
            f"data.canonical_focal_px={other:g}"
        )
    return _loaded(recipe, weights).to(device)


def _loaded(recipe: Recipe, weights: str) -> nn.Module:
    network = create_model(recipe.model.name)
    load_student_weights(network, weights)
    return network


def _other_focal_length(recipe: Recipe, weights: str) -> float | None:
    """Returns the focal length for which weights give metres, None if it is the recipe's [px]."""
    focal = student_facts(weights).canonical_focal_px
    is_same = math.isclose(focal, recipe.data.canonical_focal_px, rel_tol=1e-3)
    return None if is_same else focal


def _recorded_drives(path: str, video: VideoOptions) -> list[Drive]:
    options = DriveOptions(
        fov_deg=video.fov_deg,
        nuscenes_split=video.nuscenes_split,
        nuscenes_camera=(video.nuscenes_camera,) if video.nuscenes_camera else None,
        nuscenes_sweeps=video.nuscenes_sweeps or None,
        robotcar_split=video.robotcar_split,
    )
    conditions = [name for name in video.condition_names() if name != "unknown"]
    return open_drives(path, video.kind, conditions, options)


def _validation(
    recipe: Recipe, drives: Sequence[DriveIndex] = (), trained: RecordedSamples | None = None
) -> Validation | None:
    """Returns what is scored while it trains; warns of frames that are trained on as well."""
    data, limit = recipe.data, recipe.train.val_samples
    size = (data.width, data.height)
    if not data.val_drives:
        return None
    kind = find_kind(Path(data.val_drives))
    if data.val_split and kind not in ("nuscenes", "robotcar"):
        raise ValueError(
            f"data.val_split={data.val_split} has no meaning for {data.val_drives}, which is of "
            f"kind {kind}: nuScenes and RobotCar have splits"
        )
    if kind != "synthetic":
        video = data.video
        options = DriveOptions(
            fov_deg=video.fov_deg,
            nuscenes_camera=(video.nuscenes_camera,) if video.nuscenes_camera else None,
            nuscenes_split=data.val_split,
            robotcar_split=data.val_split,
        )
        recorded = open_drives(data.val_drives, options=options.usable_by(kind))
        held = RecordedValidation(recorded, size, data.target, limit, video.view.resize)
        places = [Path(path).resolve() for path in (data.drives, data.val_drives)]
        is_inside = places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0])
        shared = trained.names() & held.names() if trained and is_inside else set()
        if shared:
            log.warning(
                "%d of %d validation frames are trained on as well, so best.pt is not chosen by "
                "unseen ones: name other data.val_drives, or data.val_split",
                *(len(shared), len(held)),
            )
        return held
    held_out = find_training_drives(data.val_drives)
    if shared := shared_worlds(drives, held_out):
        log.warning("%d validation worlds are training worlds too: %s", len(shared), shared)
    return ValidationSamples(held_out, size, data.target, limit)
