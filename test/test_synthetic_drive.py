"""Reading synthetic drives: what is there, and what is said of what is not. No torch."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rosam_core.drives.synthetic.drive import (
    SyntheticDrive,
    decode_depth,
    encode_depth,
    encode_ids,
    encode_image,
    find_drives,
    known_conditions,
)

CONDITIONS = ("day-clear", "night")
WIDTH, HEIGHT, FRAMES = 48, 32, 3


def write(folder: Path, **changes: object) -> Path:
    """Writes a drive whose frame i is grey 60 + i by day and 10 + i at night, 5 + i m deep."""
    for name in (*(f"images/{c}" for c in CONDITIONS), "depth", "instances", "lidar"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(FRAMES):
        for base, condition in ((60, "day-clear"), (10, "night")):
            image = np.full((HEIGHT, WIDTH, 3), base + i, np.uint8)
            (folder / f"images/{condition}/{i:06d}.png").write_bytes(encode_image(image, ".png"))
        depth = np.full((HEIGHT, WIDTH), 5.0 + i, np.float32)
        (folder / f"depth/{i:06d}.png").write_bytes(encode_depth(depth))
        ids = np.full((HEIGHT, WIDTH), 300 + i, np.uint16)
        (folder / f"instances/{i:06d}.png").write_bytes(encode_ids(ids))
    np.save(folder / "lidar/000000.npy", np.array([[1, 2, 3]], np.float32))
    pose = np.eye(4)
    frames = []
    for i in range(FRAMES):
        pose[0, 3], pose[2, 3] = i, 1.5
        frames.append({"stamp_ns": 10**9 + i * 10**8, "T_world_camera": pose.tolist()})
    meta = {
        "format": "rosam-synthetic-1",
        "seed": 1,
        "fps": 10,
        "width": WIDTH,
        "height": HEIGHT,
        "fx": 40.0,
        "fy": 41.0,
        "cx": 23.5,
        "cy": 15.5,
        "conditions": list(CONDITIONS),
        "image_suffix": ".png",
        "frames": frames,
        **changes,
    }
    (folder / "drive.json").write_text(json.dumps(meta))
    return folder


def edit(folder: Path, change) -> None:
    meta = json.loads((folder / "drive.json").read_text())
    change(meta)
    (folder / "drive.json").write_text(json.dumps(meta))


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write(tmp_path / "drive_000001")


def test_depth_survives_its_png() -> None:
    depth = np.array([[0.5, 7.123, 255.0, 255.99, 256.5, 1e9, np.inf, np.nan]], np.float32)
    stored = cv2.imdecode(np.frombuffer(encode_depth(depth), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert stored[0].tolist() == [128, 1823, 65280, 65533, 65535, 65535, 65535, 0]
    back = decode_depth(stored)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[0, :4], depth[0, :4], atol=1 / 512 + 1e-6)
    assert np.isposinf(back[0, 4:7]).all()
    assert np.isnan(back[0, 7])


def test_images_survive_their_png() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    bgr = cv2.imdecode(np.frombuffer(encode_image(rgb, ".png"), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(bgr[..., ::-1], rgb)


def test_a_frame_holds_everything(drive: Path) -> None:
    opened = SyntheticDrive(drive, "night")
    assert len(opened) == FRAMES
    frame = opened[1]
    assert (frame.image == 11).all()
    assert frame.image.dtype == np.uint8
    assert (frame.depth == 6.0).all()
    assert (frame.instances == 301).all()
    assert frame.condition == "night"
    assert frame.stamp_ns == 1_100_000_000
    assert frame.camera.fy == 41.0
    assert frame.T_world_camera[0, 3] == 1.0
    assert opened.camera_height(1) == 1.5
    assert frame.lidar is None
    assert opened[0].lidar.tolist() == [[1, 2, 3]]
    assert [f.stamp_ns for f in opened] == [1_000_000_000, 1_100_000_000, 1_200_000_000]


def test_a_frame_is_the_callers_own(drive: Path) -> None:
    opened = SyntheticDrive(drive)
    opened[1].T_world_camera[:] = 0
    assert opened[1].T_world_camera[0, 3] == 1.0


def test_one_condition_a_frame(drive: Path) -> None:
    opened = SyntheticDrive(drive, ["day-clear", "night", "day-clear"])
    assert [int(frame.image[0, 0, 0]) for frame in opened] == [60, 11, 62]


def test_recorded_follows_the_schedule(drive: Path) -> None:
    names = ["night", "day-clear", "night"]
    edit(drive, lambda m: [f.update(condition=n) for f, n in zip(m["frames"], names, strict=True)])
    opened = SyntheticDrive(drive, "recorded")
    assert opened.conditions == names
    assert [int(frame.image[0, 0, 0]) for frame in opened] == [10, 61, 12]
    # Another condition can be read where it was rendered all the same; where not, it is said.
    assert SyntheticDrive(drive, "night")[1].condition == "night"
    (drive / "images/night/000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"rendered in day-clear only, not in night.*'rec"):
        SyntheticDrive(drive, "night")[1]


def test_recorded_needs_a_schedule(drive: Path) -> None:
    with pytest.raises(ValueError, match=r"not rendered by a schedule: name one of \['day-clear'"):
        SyntheticDrive(drive, "recorded")


def test_an_index_outside_is_an_index_error(drive: Path) -> None:
    for index in (-1, FRAMES):
        with pytest.raises(IndexError, match=f"frame {index} of 3"):
            SyntheticDrive(drive)[index]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def _wrong_size(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH - 2, 3), np.uint8))


def _eight_bits(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint8))


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda d: shutil.rmtree(d), FileNotFoundError, "no drive.json in .*`rosam synth --out"),
        (
            lambda d: ((d / "drive.json").unlink(), (d / "recipe.json").write_text("{}")),
            FileNotFoundError,
            "the drive is unfinished: run the same `rosam synth` command",
        ),
        (lambda d: _cut(d / "drive.json"), ValueError, "drive.json is not JSON"),
        (lambda d: (d / "drive.json").write_text("[]"), ValueError, "is not a synthetic drive"),
        (lambda d: edit(d, lambda m: m.pop("fx")), ValueError, "lacks the field 'fx'"),
        (
            lambda d: edit(d, lambda m: m["frames"][1].pop("T_world_camera")),
            ValueError,
            "lacks the field 'T_world_camera'",
        ),
        (lambda d: edit(d, lambda m: m.update(frames=7)), ValueError, "drive.json is damaged"),
        (
            lambda d: edit(d, lambda m: m["frames"][0].update(T_world_camera=[1, 2])),
            ValueError,
            "drive.json is damaged",
        ),
        (lambda d: edit(d, lambda m: m.update(fx=0)), ValueError, "positive focal lengths"),
        (
            lambda d: (d / "images/day-clear/000001.png").unlink(),
            FileNotFoundError,
            "missing .*000001.png: run the same",
        ),
        (lambda d: _cut(d / "images/day-clear/000001.png"), ValueError, "damaged image .*000001"),
        (lambda d: _cut(d / "depth/000001.png"), ValueError, "damaged image .*depth"),
        (
            lambda d: _wrong_size(d / "images/day-clear/000001.png"),
            ValueError,
            "is 46x32, the drive is 48x32",
        ),
        (
            lambda d: _eight_bits(d / "depth/000001.png"),
            ValueError,
            "holds uint8 .* expected uint16",
        ),
        (
            lambda d: (d / "lidar/000001.npy").write_bytes(b""),
            ValueError,
            "damaged lidar sweep",
        ),
        (
            lambda d: np.save(d / "lidar/000001.npy", np.zeros(4)),
            ValueError,
            r"shape \(4,\), expected \(N, 3\)",
        ),
    ],
)
def test_what_is_wrong_is_said(drive: Path, harm, error, message) -> None:
    harm(drive)
    with pytest.raises(error, match=message):
        SyntheticDrive(drive)[1]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("fog", r"was not rendered in \['fog'\]: it has \['day-clear', 'night'\]"),
        (["night"], "1 conditions given for 3 frames"),
        (["night", "night", "snow"], r"not rendered in \['snow'\]"),
    ],
)
def test_a_condition_that_is_not_there(drive: Path, condition, message) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticDrive(drive, condition)


def test_drives_are_found_in_order(tmp_path: Path) -> None:
    for name in ("drive_000010", "drive_000002"):
        write(tmp_path / name)
    (tmp_path / "drive_000003").mkdir()  # begun, not finished
    assert [path.name for path in find_drives(tmp_path)] == ["drive_000002", "drive_000010"]
    assert find_drives(tmp_path / "drive_000002") == [tmp_path / "drive_000002"]
    with pytest.raises(FileNotFoundError, match="no synthetic drives under"):
        find_drives(tmp_path / "drive_000003")


def test_conditions_that_can_be_rendered() -> None:
    assert known_conditions() == ["day-clear", "night", "day-rain", "fog"]
