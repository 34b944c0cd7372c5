"""The demo: a recording is scored and drawn, and the whole of it runs on a real graph."""

import dataclasses
import importlib.util
import json
import re

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from support import write_tiny_model

from rosam_core.cli import main
from rosam_core.drives.bag_reader import BagReader
from rosam_core.drives.bag_writer import BagWriter
from rosam_core.drives.base import Drive
from rosam_core.evaluation.demo_report import write_demo
from rosam_core.evaluation.live import LiveRun, LiveTopics, check_ros, find_profile
from rosam_core.evaluation.recording import recorded_prediction, recorded_predictions
from rosam_core.types import Camera, Frame, ModelCard, card_path

CAMERA = Camera(64, 64, 31.5, 23.5, 64, 48)
TOPICS = LiveTopics("/cam/image_raw", "sensor_msgs/msg/Image", "/cam/camera_info")
STAMPS = [10**9 + i * 10**8 for i in range(12)]


class Drawn(Drive):
    """Twelve frames, 10 m everywhere, first by day and then at night."""

    name = "drawn"
    frames = tuple({"stamp_ns": stamp} for stamp in STAMPS)

    def __init__(self, with_truth=True, with_lidar=False):
        self.with_truth, self.with_lidar = with_truth, with_lidar

    def __len__(self):
        return len(STAMPS)

    def __getitem__(self, index):
        T = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
        return Frame(
            np.full((48, 64, 3), 10 * index + 50, np.uint8),
            CAMERA,
            STAMPS[index],
            T,
            "day-clear" if index < 6 else "night",
            depth=np.full((48, 64), 10, np.float32) if self.with_truth else None,
            lidar=np.array([[0, 0, 10.0], [1, 0, 20]], np.float32) if self.with_lidar else None,
        )


def record(path, stamps=STAMPS, without_confidence=(), by_day=lambda stamp: 11):
    """Writes what the node would have published: 11 m by day, 20 m at night."""
    with BagWriter(path) as writer:
        for stamp in stamps:
            where = (stamp, "optical")
            depth = np.full((48, 64), by_day(stamp) if stamp < STAMPS[6] else 20, np.float32)
            depth[0, 0], depth[0, 1] = np.nan, np.inf
            writer.write_depth(TOPICS.depth, *where, depth)
            writer.write_camera_info(TOPICS.depth_info, *where, CAMERA)
            if stamp not in without_confidence:
                sure = np.full((48, 64), 0.8, np.float32)
                writer.write_depth(TOPICS.confidence, *where, sure)
    return path


def live_run(bag, depths=12):
    return LiveRun(bag, np.arange(1.0, depths + 1), 10.0, 12, depths, "43", 0, "said")


@pytest.fixture
def card(tmp_path):
    return ModelCard.load(card_path(write_tiny_model(tmp_path / "model")))


def test_recording_is_read_back_pair_by_pair(tmp_path):
    bag = record(tmp_path / "r.mcap", without_confidence=STAMPS[3:4])
    found = list(recorded_predictions(bag, TOPICS))
    assert [stamp for stamp, _, _ in found] == STAMPS[:3] + STAMPS[4:]
    prediction = found[0][1]
    assert prediction.depth.dtype == np.float32
    assert prediction.depth[5, 5] == 11
    assert np.isnan(prediction.depth[0, 0])
    assert np.isposinf(prediction.depth[0, 1])
    assert prediction.confidence[5, 5] == np.float32(0.8)
    assert (prediction.camera.fx, prediction.camera.width) == (64, 64)
    assert recorded_prediction(bag, TOPICS, STAMPS[8]).depth[5, 5] == 20
    with pytest.raises(ValueError, match="no depth with stamp 5"):
        recorded_prediction(bag, TOPICS, 5)


def test_scores_and_files_of_a_run(tmp_path, card):
    out = tmp_path / "out"
    out.mkdir()
    results = write_demo(Drawn(), live_run(record(tmp_path / "r.mcap")), TOPICS, card, out, 10.0)
    day, night = results["conditions"]["day-clear"], results["conditions"]["night"]
    assert day["metric"]["abs_rel"] == pytest.approx(0.1, abs=3e-3)  # one pixel is +Inf
    assert night["metric"]["abs_rel"] == pytest.approx(1, abs=3e-3)
    assert day["ece"] == pytest.approx(0.2, abs=1e-3)  # always right at 0.8
    assert night["ece"] == pytest.approx(0.8, abs=1e-3)
    assert results["graph"]["latency_p50_ms"] == 6.5
    assert "0 of 12 frames dropped" in results["table"]
    assert re.search(r"^night +6 +0\.99\d|^night +6 +1\.00\d", results["table"], re.M)

    written = json.loads((out / "results.json").read_text())
    assert written["conditions"]["night"]["frames"] == 6
    page = (out / "report.html").read_text()
    for text in ("day-clear, best", "night, worst", "day-clear, night", "latency"):
        assert text in page
    assert cv2.imread(str(out / "contact_sheet.png")).std() > 10
    overview = cv2.imread(str(out / "overview.png"))
    assert overview.shape[0] == 2 * 216 + 4  # one row for day, one for night
    video = cv2.VideoCapture(str(out / "demo.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert video.get(cv2.CAP_PROP_FPS) == 10


def test_best_median_and_worst_frames_are_shown_as_such(tmp_path, card):
    # Errors of 10, 20 ... 60 %, the smallest in the third frame.
    metres = dict(zip(STAMPS, (13.0, 12, 11, 16, 15, 14), strict=False))
    bag = record(tmp_path / "r.mcap", by_day=lambda stamp: metres[stamp])
    write_demo(Drawn(), live_run(bag), TOPICS, card, tmp_path, 10.0)
    page = (tmp_path / "report.html").read_text()
    shown = re.findall(r"day-clear, (\w+)<small>AbsRel ([\d.]+)", page)
    assert [name for name, _ in shown] == ["best", "median", "worst"]
    assert [float(e) for _, e in shown] == pytest.approx([0.1, 0.4, 0.6], abs=5e-3)


def test_bag_of_the_run_has_inputs_and_outputs_with_their_stamps(tmp_path, card):
    write_demo(Drawn(), live_run(record(tmp_path / "r.mcap")), TOPICS, card, tmp_path, 10.0)
    with BagReader(tmp_path / "demo.mcap") as bag:
        counts = {name: topic.count for name, topic in bag.topics.items()}
        stamps = {
            name: [m.stamp_ns for m in bag.messages([name])] for name in counts if name != "/tf"
        }
        (camera,) = bag.cameras
    assert camera.topic == "/cam/image_raw/compressed"
    assert camera.info_topic == "/cam/camera_info"
    for name in ("/cam/depth/image", "/cam/confidence/image", "/cam/depth/image_color/compressed"):
        assert stamps[name] == STAMPS
    assert counts["/tf"] == 12


def test_run_without_a_truth_has_a_report_without_accuracy(tmp_path, card):
    bag = record(tmp_path / "r.mcap")
    results = write_demo(Drawn(with_truth=False), live_run(bag), TOPICS, card, tmp_path, 10.0)
    assert results["conditions"] == {}
    assert results["table"].startswith("10.0 Hz")
    page = (tmp_path / "report.html").read_text()
    assert "none in this recording" in page
    assert "AbsRel" not in page
    assert ">error</span>" not in page


def test_lidar_is_the_truth_where_nothing_is_exact(tmp_path, card):
    drive = Drawn(with_truth=False, with_lidar=True)
    run = live_run(record(tmp_path / "r.mcap"))
    results = write_demo(drive, run, TOPICS, card, tmp_path, 10.0)
    # Points at 10 and 20 m; 11 m is said: errors 0.1 and 0.45.
    day = results["conditions"]["day-clear"]
    assert day["metric"]["abs_rel"] == pytest.approx(0.275)
    assert "flat_ground" not in day
    assert "lidar of the drive" in (tmp_path / "report.html").read_text()


def test_stored_depth_of_lidar_is_not_called_exact(tmp_path, card):
    class Stored(Drawn):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            depth = np.full_like(frame.depth, np.nan)
            depth[::4, ::4] = 10
            return dataclasses.replace(frame, depth=depth)

    write_demo(Stored(), live_run(record(tmp_path / "r.mcap")), TOPICS, card, tmp_path, 10.0)
    page = (tmp_path / "report.html").read_text()
    assert "lidar of the drive" in page
    assert "exact depth" not in page


def test_lost_and_foreign_depths_are_left_out(tmp_path, card):
    bag = record(tmp_path / "r.mcap", stamps=[*STAMPS[:4], 77])
    results = write_demo(Drawn(), live_run(bag, 4), TOPICS, card, tmp_path, 10.0)
    assert results["conditions"]["day-clear"]["frames"] == 4
    assert results["graph"]["drops"] == 8
    with pytest.raises(ValueError, match="no depth for drawn"):
        write_demo(
            Drawn(), live_run(record(tmp_path / "x.mcap", [77])), TOPICS, card, tmp_path, 10.0
        )


def test_without_ros_the_command_says_what_to_install(monkeypatch, capsys, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "rclpy" else real(name, *a)
    )
    assert main(["demo", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "rclpy" in told
    assert "pip install" in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.ros
def test_without_torch_the_command_says_what_to_install(monkeypatch, capsys, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a)
    )
    assert main(["demo", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "torch" in told
    assert ".[ros,train]" in told


def test_profile_is_found():
    assert find_profile().name == "fastdds_shm.xml"


@pytest.mark.ros
@pytest.mark.slow
def test_whole_demo_of_a_bag_on_a_real_graph(tmp_path, capsys):
    from rosam_core.drives.bag_writer import write_drive

    check_ros()
    model = write_tiny_model(tmp_path / "model")
    bag = tmp_path / "drive.mcap"
    write_drive(Drawn(with_truth=False, with_lidar=True), bag)
    out = tmp_path / "out"
    arguments = ["demo", "--out", str(out), "--bag", str(bag), "--model", str(model), "--json"]
    assert main(arguments) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["graph"]["node_status"] == 0
    assert results["graph"]["frames"] == 12
    assert 5 < results["graph"]["rate_hz"] < 20
    with BagReader(out / "demo.mcap") as recorded:
        stamps = [m.stamp_ns for m in recorded.messages(["/camera/depth/image"])]
    assert results["graph"]["drops"] == 12 - len(stamps)
    kept = [STAMPS.index(stamp) for stamp in stamps]  # a busy machine may drop some
    assert len(kept) > 3
    # Frame i has level 50 + 10 i, so the model says 7 + i metres; lidar points at 10 and 20 m.
    expected = np.mean([(abs(7 + i - 10) / 10 + abs(7 + i - 20) / 20) / 2 for i in kept])
    got = results["conditions"]["unknown"]["metric"]["abs_rel"]
    assert got == pytest.approx(expected, abs=0.01)  # JPEG is not exact
    assert sorted(path.name for path in out.iterdir()) == [
        "contact_sheet.png",
        "demo.mcap",
        "demo.mp4",
        "overview.png",
        "report.html",
        "results.json",
    ]


@pytest.mark.ros
def test_bad_model_is_told_by_the_demo(tmp_path, capsys):
    from rosam_core.drives.bag_writer import write_drive

    model = write_tiny_model(tmp_path / "model")
    write_drive(Drawn(), tmp_path / "drive.mcap")
    model.write_bytes(model.read_bytes() + b"x")  # no longer the file of its card
    arguments = ["--bag", str(tmp_path / "drive.mcap"), "--model", str(model)]
    assert main(["demo", "--out", str(tmp_path / "out"), *arguments]) == 1
    told = capsys.readouterr().err
    assert "node did not start" in told
    assert "sha256" in told


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.torch
def test_whole_demo_of_a_synthetic_drive(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model", 576, 320)
    arguments = ["--out", str(tmp_path), "--seconds", "1", "--model", str(model), "--json"]
    assert main(["demo", *arguments]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["conditions"].keys() <= {"day-clear", "night", "day-rain", "all"}
    assert results["graph"]["frames"] == 10
    assert results["conditions"]["all"]["flat_ground"]["abs_rel"] > 0


def test_a_checkout_right_below_the_root_is_searched_too(monkeypatch):
    from rosam_core.evaluation import live

    monkeypatch.setattr(live, "__file__", "/repo/rosam_core/evaluation/live.py")
    live.find_profile()  # three folders above it, no fourth
