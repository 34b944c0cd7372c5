"""What is scored while a method learns from recorded drives."""

import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rosam_core.assembly import training_data
from rosam_core.config import load_config
from rosam_core.drives.base import Drive
from rosam_core.drives.nuscenes_writer import write_nuscenes
from rosam_core.evaluation.student import evaluate_student
from rosam_core.recipe import Recipe
from rosam_core.types import Camera, Frame

pytestmark = pytest.mark.torch
RECIPE = Path(__file__).resolve().parents[1] / "training/recipes/self_supervised.yaml"
FRAMES, SCENES = 3, 4
AXES = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]


class Street(Drive):
    """A camera that goes 2 m/s along x, with a lidar."""

    def __init__(self, number: int) -> None:
        self.name, self.number, self.has_poses = f"street-{number}", number, True

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, index: int) -> Frame:
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = AXES, (index, 0, 1.5)
        rng = np.random.default_rng((self.number, index))
        image = rng.integers(0, 255, (96, 160, 3), dtype=np.uint8)
        points = rng.uniform((-5, -1, 5), (5, 1.5, 30), (500, 3)).astype(np.float32)
        stamp = 10**12 + self.number * 10**11 + index * 5 * 10**8
        camera = Camera(110, 110, 79.5, 47.5, 160, 96)
        pose = T if self.has_poses else None
        return Frame(image, camera, stamp, pose, "day-clear", "CAM_FRONT", lidar=points)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes") / "tree"
    write_nuscenes([Street(k) for k in range(SCENES)], root, version="v1.0-trainval")
    names = [f"scene-{k:04d}" for k in range(SCENES)]
    (root / "splits.json").write_text(json.dumps({"train": names[:3], "val": names[3:]}))
    return root


def options(tree, *more):
    given = [f"data.drives={tree}", f"data.val_drives={tree}", "data.video.nuscenes_split=train"]
    given += ["data.video.nuscenes_camera=CAM_FRONT", "data.width=160", "data.height=96"]
    return load_config(Recipe, RECIPE, [*given, "data.workers=0", *more])


def scenes(recorded):
    return Counter(target.drive.scene(target.index) for target in recorded.targets)


def test_frames_of_the_split_are_scored_and_none_that_is_trained_on(tree, caplog):
    caplog.set_level(logging.WARNING)
    trained, held = training_data(options(tree, "data.val_split=val"))
    assert set(scenes(trained.recorded)) == {"scene-0000", "scene-0001", "scene-0002"}
    assert scenes(held.recorded) == {"scene-0003": FRAMES}
    assert "trained on as well" not in caplog.text
    _, held = training_data(options(tree))
    assert len(held) == SCENES * FRAMES
    shared = len(trained.recorded)
    assert f"{shared} of {len(held)} validation frames are trained on as well" in caplog.text


def test_validation_drives_may_be_of_another_kind(tree, tmp_path):
    from rosam_core.drives.frames_writer import write_frames

    write_frames([Street(9)], tmp_path / "frames")
    _, held = training_data(options(tree, f"data.val_drives={tmp_path / 'frames'}"))
    assert len(held) == FRAMES
    with pytest.raises(ValueError, match=r"data\.val_split=val has no meaning for .*frames"):
        training_data(
            options(tree, f"data.val_drives={tmp_path / 'frames'}", "data.val_split=val")
        )


def test_one_image_is_read_for_each_that_is_scored(tree, tmp_path, monkeypatch):
    from rosam_core.drives.frames import FramesDrive
    from rosam_core.drives.frames_writer import write_frames

    street = Street(9)
    street.has_poses = False  # then images tell whether the camera moved, where that matters
    write_frames([street], tmp_path / "frames")
    read, picture = [], FramesDrive._picture

    def counted(drive, path):
        read.append(path)
        return picture(drive, path)

    monkeypatch.setattr(FramesDrive, "_picture", counted)
    given = [f"data.val_drives={tmp_path / 'frames'}", "train.val_samples=2"]
    _, held = training_data(options(tree, *given))
    assert len(set(read)) <= 1  # its size
    read.clear()
    assert len([held[number] for number in range(len(held))]) == 2
    assert len(read) == 2


def test_depth_without_scale_is_scored_median_scaled(tree):
    _, held = training_data(options(tree, "data.val_split=val"))

    class Truth(torch.nn.Module):
        """The depth of the only frame that is asked for, at a third of its scale."""

        def forward(self, images):
            depth = torch.from_numpy(np.exp(held[0]["log_depth"]))[None] / 3
            depth = torch.nan_to_num(depth, nan=1.0)
            return {"inverse_depth": 1 / depth, "log_b": torch.zeros_like(depth)}

    held.recorded.targets = held.recorded.targets[:1]
    figures = [
        evaluate_student(Truth(), held, 1, torch.device("cpu"), is_metric)["all"]
        for is_metric in (True, False)
    ]
    assert figures[0]["abs_rel"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures[1]["abs_rel"] == pytest.approx(0, abs=1e-5)
