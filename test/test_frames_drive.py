"""Folders of images and videos as drives: order, stamps, intrinsics, depth, and what is wrong."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from rosam_core.drives.frames import DEFAULT_FPS, FramesDrive, find_frames, stamp_of_name
from rosam_core.drives.frames_description import condition_of_words
from rosam_core.drives.video import VideoFile
from rosam_core.types import Camera

WIDTH, HEIGHT = 64, 48
CAMERA = Camera(50, 51, 31, 24, WIDTH, HEIGHT)


def write_images(folder: Path, names=("0.png", "1.png", "2.png"), width=WIDTH, height=HEIGHT):
    """Grey images; the level of each is ten times its place in `names`."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((height, width, 3), 10 * place, np.uint8))
    return folder


def write_video(path: Path, frames=40, fps=20.0):
    """The level of frame i is 6 i."""
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((HEIGHT, WIDTH, 3), 6 * index, np.uint8))
    writer.release()
    return path


def levels(drive):
    return [round(float(frame.image.mean())) for frame in drive]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("f2.png", "f10.png", "f1.png"), [20, 0, 10]),
        (("b.jpg", "a.bmp", "c.tif"), [10, 0, 20]),
        # Names that end with stamps go by time, whatever stands before.
        (("z_1500000000000002.png", "a_1500000000000003.png"), [0, 10]),
    ],
)
def test_images_are_in_natural_order(tmp_path, names, order):
    drive = FramesDrive(write_images(tmp_path / "d", names), fov_deg=60)
    assert levels(drive) == order
    assert drive.name == "d"


@pytest.mark.parametrize(
    ("stem", "stamp_ns"),
    [
        ("1418132504537582", 1418132504537582_000),
        ("1317042145961661696", 1317042145961661696),
        ("n008__CAM_FRONT__1532621809112404", 1532621809112404_000),
        ("0000000012", None),
        ("frame12", None),
        ("99999999999999", None),
    ],
)
def test_stamps_are_read_from_names(stem, stamp_ns):
    assert stamp_of_name(stem) == stamp_ns


def test_rate_stated_in_names_or_assumed(tmp_path):
    counted = write_images(tmp_path / "counted")
    assert FramesDrive(counted, fov_deg=60).stamps_ns == [0, 10**8, 2 * 10**8]
    assert DEFAULT_FPS == 10
    assert FramesDrive(counted, fov_deg=60, fps=4).stamps_ns == [0, 250 * 10**6, 500 * 10**6]
    stamped = write_images(tmp_path / "stamped", ["1500000000000002.png", "1500000000000001.png"])
    assert FramesDrive(stamped, fov_deg=60).stamps_ns == [
        1500000000000001_000,
        1500000000000002_000,
    ]
    assert FramesDrive(stamped, fov_deg=60, fps=10).stamps_ns == [0, 10**8]


def test_colour_is_rgb_and_view_is_the_stated_one(tmp_path):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = 200  # blue, in OpenCV's order
    (tmp_path / "d").mkdir()
    cv2.imwrite(str(tmp_path / "d" / "0.png"), image)
    frame = FramesDrive(tmp_path / "d", fov_deg=90, condition="night")[0]
    assert frame.image[0, 0].tolist() == [0, 0, 200]
    # tan(45 degrees) = 1 = (width / 2) / f
    assert frame.camera.fx == pytest.approx(32)
    assert frame.condition == "night"
    assert frame.T_world_camera is None
    assert frame.depth is None


def test_camera_file_beside_the_images_is_taken(tmp_path):
    folder = write_images(tmp_path / "d")
    text = "fx: 50\nfy: 51\ncx: 31\ncy: 24\nwidth: 64\nheight: 48\n"
    (folder / "camera.yaml").write_text(text)
    assert FramesDrive(folder)[2].camera == CAMERA
    assert FramesDrive(folder, fov_deg=90)[0].camera.fx == pytest.approx(32)
    other = Camera(99, 99, 31, 24, WIDTH, HEIGHT)
    assert FramesDrive(folder, camera=other)[0].camera == other


def test_depth_has_the_names_of_its_images(tmp_path):
    folder = write_images(tmp_path / "d" / "frames", ["a.png", "b.png"])
    stored = np.full((HEIGHT, WIDTH), 12 * 256, np.uint16)
    stored[0, :2] = (0, 65535)
    (tmp_path / "d" / "depth").mkdir()
    cv2.imwrite(str(tmp_path / "d" / "depth" / "b.png"), stored)
    first, second = FramesDrive(tmp_path / "d", fov_deg=60)
    assert first.depth is None
    assert second.depth[5, 5] == 12
    assert np.isnan(second.depth[0, 0])
    assert np.isinf(second.depth[0, 1])
    (tmp_path / "elsewhere").mkdir()
    cv2.imwrite(str(tmp_path / "elsewhere" / "a.png"), stored)
    assert FramesDrive(folder, fov_deg=60, depth=tmp_path / "elsewhere")[0].depth[5, 5] == 12
    with pytest.raises(ValueError, match=r"no PNG with the name of an image, such as a\.png"):
        FramesDrive(folder, fov_deg=60, depth=tmp_path)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.zeros((HEIGHT, WIDTH), np.uint8), "is uint8 of shape .* expected 16-bit grey"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint16), "expected 16-bit grey"),
        (np.zeros((HEIGHT // 2, WIDTH), np.uint16), "is 64x24, its image 64x48"),
        (None, "cannot be read: copy it again"),
    ],
)
def test_depth_of_another_kind_is_refused(tmp_path, stored, message):
    folder = write_images(tmp_path / "d", ["a.png"])
    (folder / "depth").mkdir()
    file = folder / "depth" / "a.png"
    if stored is None:
        file.write_bytes(b"no image")
    else:
        cv2.imwrite(str(file), stored)
    with pytest.raises(ValueError, match=message):
        FramesDrive(folder, fov_deg=60)[0]


def test_description_tells_camera_stamps_poses_and_condition(tmp_path):
    folder = tmp_path / "d"
    write_images(folder / "frames")
    T = np.eye(4)
    T[0, 3] = 7
    described = {
        "K": CAMERA.K.tolist(),
        "width": WIDTH,
        "height": HEIGHT,
        "frame_stamps": [0.5, 0.75, 1.25],
        "poses": [np.eye(4).tolist(), np.eye(4).tolist(), T.tolist()],
        "condition": "Night, heavy rain",
    }
    (folder / "drive.json").write_text(json.dumps(described))
    drive = FramesDrive(folder)
    frame = drive[2]
    assert frame.camera == CAMERA
    assert drive.stamps_ns == [500_000_000, 750_000_000, 1_250_000_000]
    assert frame.T_world_camera[0, 3] == 7
    assert frame.condition == "night"
    assert find_frames(tmp_path) == [folder]


def test_conditions_of_time_ranges(tmp_path):
    folder = write_images(tmp_path / "d")
    ranges = "- {from: 0, to: 0.15, condition: day-clear}\n- {from: 0.2, condition: night}\n"
    (folder / "conditions.yaml").write_text(ranges)
    drive = FramesDrive(folder, fov_deg=60)
    assert [frame.condition for frame in drive] == ["day-clear", "day-clear", "night"]
    assert drive.glance(2).condition == "night"
    assert FramesDrive(folder, fov_deg=60, condition="fog")[0].condition == "fog"


@pytest.mark.parametrize(
    ("words", "condition"),
    [
        ("day, clear, urban", "day-clear"),
        ("fog", "fog"),
        ("Rain by day", "day-rain"),
        ("overcast", "unknown"),
        ("day-rain", "day-rain"),
    ],
)
def test_condition_of_words(words, condition):
    assert condition_of_words(words) == condition


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_cut_image_is_named_and_the_others_are_read(tmp_path, suffix):
    folder = write_images(tmp_path / "d", [f"{i}{suffix}" for i in range(3)])
    cut = folder / f"1{suffix}"
    cut.write_bytes(cut.read_bytes()[:-30])
    drive = FramesDrive(folder, fov_deg=60)
    with pytest.raises(ValueError, match=rf"1\{suffix} cannot be read.*truncated"):
        drive[1]
    assert drive[2].image.mean() == pytest.approx(20, abs=1)


def test_first_image_may_be_the_bad_one(tmp_path):
    folder = write_images(tmp_path / "d")
    (folder / "0.png").write_bytes(b"")
    assert FramesDrive(folder, fov_deg=60)[1].camera.width == WIDTH


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (lambda d: None, {}, "no intrinsics: state its horizontal view with --fov"),
        (lambda d: None, {"fov_deg": 180}, "between 0 and 180"),
        (lambda d: None, {"fov_deg": 60, "fps": 0}, "must be positive"),
        (lambda d: None, {"fov_deg": 60, "condition": "snow"}, "'snow' is none of"),
        (lambda d: None, {"fov_deg": 60, "depth": "nowhere"}, "no depth folder nowhere"),
        (
            lambda d: None,
            {"camera": CAMERA.scaled_to(32, 24)},
            "calibration is for 32x24.*only resized, not cropped, it is fx 50.00, fy 51.00",
        ),
        (lambda d: (d / "drive.json").write_text("{"), {"fov_deg": 60}, "is not JSON"),
        (lambda d: (d / "drive.json").write_text("[]"), {"fov_deg": 60}, "expected a JSON object"),
        (
            lambda d: (d / "drive.json").write_text('{"frame_stamps": [1, 2]}'),
            {"fov_deg": 60},
            "2 frame_stamps for 3 images",
        ),
        (
            lambda d: (d / "drive.json").write_text('{"poses": [[1]]}'),
            {"fov_deg": 60},
            "poses must be finite 4x4",
        ),
        (lambda d: (d / "drive.json").write_text('{"K": [[1]]}'), {}, "expected 3x3"),
        (lambda d: [p.write_bytes(b"x") for p in d.glob("*")], {"fov_deg": 60}, "none of 3"),
        (lambda d: [p.unlink() for p in d.glob("*")], {"fov_deg": 60}, "has no images"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_opened(tmp_path, prepare, options, message):
    folder = write_images(tmp_path / "d")
    prepare(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        FramesDrive(folder, **options)
    assert "\n" not in str(error.value)


def test_an_image_of_another_size_is_not_given_a_wrong_camera(tmp_path):
    folder = write_images(tmp_path / "d")
    write_images(folder, ["9.png"], 32, 24)
    drive = FramesDrive(folder, camera=CAMERA)
    with pytest.raises(ValueError, match=r"9\.png: the image is 32x24"):
        drive[3]


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_video_in_any_order_and_from_another_process(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix}")
    drive = FramesDrive(path, fov_deg=60)
    assert len(drive) == 40
    assert drive.stamps_ns[:3] == [0, 50_000_000, 100_000_000]
    in_order = [frame.image for frame in drive]
    assert (np.diff([image.mean() for image in in_order]) > 3).all()
    for index in (0, 1, 39, 3, 4, 38, 0):
        np.testing.assert_array_equal(drive[index].image, in_order[index])
    copy = pickle.loads(pickle.dumps(drive))
    np.testing.assert_array_equal(copy[7].image, in_order[7])
    with pytest.raises(IndexError):
        drive[40]
    assert find_frames(path) == [path]


def test_video_of_varying_rate_is_refused_with_a_remedy(tmp_path, monkeypatch):
    video = VideoFile(write_video(tmp_path / "clip.avi"))
    opened = []
    monkeypatch.setattr(video, "_open", lambda: opened.append(1) or VideoFile._open(video))
    video.read(0)
    opened.clear()
    video.fps = 24.0  # its frames are 1 / 20 s apart: frame 5 is one frame late, frame 6 is 1.2
    for index in range(1, 6):
        video.read(index)
    assert not opened  # a little jitter does not make it start again
    with pytest.raises(ValueError, match=r"frame 6 is \+1\.2 frames off.* -vf fps=24 "):
        video.read(6)


def test_video_that_was_cut_has_the_frames_that_are_there(tmp_path):
    path = write_video(tmp_path / "clip.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = VideoFile(path)
    assert 5 < video.count < 30
    assert video.read(video.count - 2).mean() == pytest.approx(6 * (video.count - 2), abs=3)
    with pytest.raises(ValueError, match="does not decode"):
        video.read(video.count)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_what_is_no_video_is_told(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"clip\.mp4 does not open as a video"):
        FramesDrive(path, fov_deg=60)


def test_real_drives_have_what_their_description_says(shared_data):
    drive = FramesDrive(shared_data / "drives" / "kitti_odo00_416")
    assert len(drive) == 1018
    first, last = drive[0], drive[1017]
    assert first.camera.fx == pytest.approx(240.97, abs=0.01)
    assert first.condition == "day-clear"
    assert last.stamp_ns == pytest.approx(101.7e9, abs=1e6)
    assert np.linalg.norm(last.T_world_camera[:3, 3]) > 50
    dense = FramesDrive(shared_data / "drives" / "kitti_sfnd_lidar")[0]
    assert 10_000 < np.isfinite(dense.depth).sum() < 20_000
    assert 2 < np.nanmin(dense.depth) < np.nanmax(dense.depth) < 130
