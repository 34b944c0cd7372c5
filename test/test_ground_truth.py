"""What frames are scored against: the published protocol bit for bit, or without hidden points."""

import dataclasses
import json
import logging

import cv2
import numpy as np
import pytest
from support import write_tiny_model
from test_nuscenes import write_tree
from test_occlusion import LIDAR, scan, truly_hidden

from rosam_core.cli import main
from rosam_core.drives.base import Drive
from rosam_core.evaluation.ego_vehicle import VehicleBox
from rosam_core.evaluation.ground_truth import GroundTruth, TruthOptions
from rosam_core.evaluation.scoring import frame_truth
from rosam_core.geometry.projection import sparse_depth
from rosam_core.types import Camera, Frame

CAMERA = Camera(200, 200, 79.5, 49.5, 160, 100)
BENT = dataclasses.replace(
    CAMERA, distortion_model="plumb_bob", distortion=(-0.2, 0.05, 0.0, 0.0, 0.0)
)
FILTERED = TruthOptions("filtered")


def frame(camera=CAMERA, **values):
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    values = {"lidar": scan()[0], "lidar_origin": LIDAR, **values}
    return Frame(image, camera, 17, **values)


class LidarDepth(Drive):
    """A drive whose depth is a picture of lidar points, as RobotCar's."""

    name = "made"
    depth_is_lidar = True

    def __len__(self):
        return 1

    def __getitem__(self, index):
        lidar = scan()[0]
        return frame(lidar=lidar, depth=sparse_depth(lidar, CAMERA))


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("camera", [CAMERA, BENT])
def test_the_protocol_is_what_it_was_bit_for_bit(rounding, camera):
    truth = GroundTruth(TruthOptions(rounding=rounding)).of(frame(camera))
    np.testing.assert_array_equal(truth, sparse_depth(scan()[0], camera, rounding=rounding))
    np.testing.assert_array_equal(truth, frame_truth(frame(camera), rounding))
    exact = np.full((100, 160), 3, np.float32)
    assert GroundTruth().of(frame(depth=exact)) is exact
    assert GroundTruth().of(LidarDepth()[0], LidarDepth()) is not None


@pytest.mark.parametrize("camera", [CAMERA, BENT])
def test_filtered_depth_has_the_points_that_are_seen(camera):
    points = scan()[0]
    before = GroundTruth().of(frame(camera))
    after = GroundTruth(FILTERED).of(frame(camera))
    kept = np.isfinite(after)
    np.testing.assert_array_equal(after[kept], before[kept])
    wrong = np.isfinite(sparse_depth(points[truly_hidden(points)], camera)) & (before > 10)
    assert wrong.sum() > 50
    assert (kept & wrong).sum() < 0.1 * wrong.sum()
    assert (np.isfinite(before) & ~wrong & ~kept).sum() < 0.01 * np.isfinite(before).sum()


def test_exact_depth_is_never_filtered_and_lidar_pictures_are():
    drive = LidarDepth()
    before = drive[0].depth
    np.testing.assert_array_equal(GroundTruth(FILTERED).of(drive[0]), before)
    after = GroundTruth(FILTERED).of(drive[0], drive)
    kept = np.isfinite(after)
    np.testing.assert_array_equal(after[kept], before[kept])
    points = scan()[0]
    wrong = np.isfinite(sparse_depth(points[truly_hidden(points)], CAMERA)) & (before > 10)
    assert (kept & wrong).sum() < 0.5 * wrong.sum()
    assert kept.sum() > 0.95 * (np.isfinite(before) & ~wrong).sum()


def test_neither_depth_nor_lidar_is_no_truth():
    for options in (TruthOptions(), FILTERED):
        assert GroundTruth(options).of(frame(lidar=None, lidar_origin=None)) is None


def test_the_vehicle_itself_is_no_truth():
    x, z = (g.ravel() for g in np.meshgrid(np.arange(-0.5, 0.5, 0.05), np.arange(1.2, 1.6, 0.05)))
    bonnet = np.stack([x, np.full_like(x, 0.25), z], axis=1).astype(np.float32)
    seen = frame(lidar=np.concatenate([scan()[0], bonnet]))
    assert np.nanmin(GroundTruth().of(seen)) < 2
    assert np.isfinite(GroundTruth().of(frame())[82:90, 60:100]).any()
    box = TruthOptions(vehicle=VehicleBox(1, 1, 1, 1, 1, 2))
    truth = GroundTruth(box).of(seen)
    assert np.nanmin(truth) > 4
    assert not np.isfinite(truth[82:90, 60:100]).any()  # nor the road between its points
    mask = np.zeros((100, 160), bool)
    mask[:, 80:] = True
    made = GroundTruth(ego_mask=mask)
    np.testing.assert_array_equal(made.of(seen)[:, :80], GroundTruth().of(seen)[:, :80])
    assert np.isnan(made.of(seen)[:, 80:]).all()
    with pytest.raises(ValueError, match="the mask is 160x50, the image 160x100"):
        GroundTruth(ego_mask=mask[:50]).of(seen)


def files(folder):
    return sorted(folder.rglob("*.png"))


def test_depth_is_kept_by_content_and_rounded_alike_hot_and_cold(tmp_path):
    seen = frame(lidar=scan()[0] * np.float32(1.0037))  # no whole 256ths of a metre
    plain = GroundTruth(FILTERED).of(seen)
    made = GroundTruth(FILTERED, tmp_path)
    cold = made.of(seen)
    (kept,) = files(tmp_path)
    stored = cv2.imread(str(kept), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert np.array_equal(stored == 0, np.isnan(plain))
    np.testing.assert_array_equal(stored, np.rint(np.nan_to_num(plain) * 256).astype(np.uint16))
    cv2.imwrite(str(kept), np.where(stored > 0, 512, 0).astype(np.uint16))
    assert np.nanmax(made.of(seen)) == 2  # it is the file that is read
    cv2.imwrite(str(kept), stored)
    np.testing.assert_array_equal(made.of(seen), cold)
    assert 1e-4 < np.nanmax(np.abs(cold - plain)) <= 1 / 512
    # Anything else that the depth follows from is another entry.
    others = [
        frame(lidar=scan()[0] * 1.01),
        dataclasses.replace(seen, lidar_origin=None),
        dataclasses.replace(seen, stamp_ns=18),
        dataclasses.replace(seen, camera=dataclasses.replace(CAMERA, fx=201)),
    ]
    for number, other in enumerate(others):
        made.of(other)
        assert len(files(tmp_path)) == number + 2
    GroundTruth(TruthOptions(), tmp_path).of(seen)
    GroundTruth(TruthOptions(rounding="floor"), tmp_path).of(seen)
    assert len(files(tmp_path)) == len(others) + 3
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "small"])
def test_a_damaged_entry_is_made_anew(tmp_path, damage, caplog):
    made = GroundTruth(FILTERED, tmp_path)
    truth = made.of(frame())
    (kept,) = files(tmp_path)
    whole = kept.read_bytes()
    if damage == "small":
        cv2.imwrite(str(kept), np.ones((10, 10), np.uint16))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 16]) + whole[middle + 1 :]
        kept.write_bytes({"cut": whole[:middle], "flipped": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(made.of(frame()), truth)
    assert "is made anew" in caplog.text
    assert kept.read_bytes() == whole


def test_exact_depth_is_not_kept(tmp_path):
    GroundTruth(FILTERED, tmp_path).of(frame(depth=np.ones((100, 160), np.float32)))
    assert files(tmp_path) == []


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match="one of protocol, general, filtered, not 'exact'"):
        TruthOptions("exact")


def test_eval_scores_what_is_seen_and_says_so(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model")
    x, y, z = (scan(np.array([0, -0.5, -3.0]))[0]).T
    # From the camera's frame to that of the tree's lidar: x forward, y left, z up.
    write_tree(tmp_path / "tree", lidar_points=np.stack([z + 3, -x, -y - 0.5], axis=1))
    stored, scored = [], []
    for mode in ("protocol", "filtered"):
        options = ["--ground-truth", mode, "--truth-cache", str(tmp_path / mode), "--json"]
        drive = ["--drive", str(tmp_path / "tree"), "--model", str(model)]
        assert main(["eval", *drive, *options]) == 0
        report = json.loads(capsys.readouterr().out)
        assert ("without hidden points" in report.get("truth", "")) == (mode == "filtered")
        (kept,) = files(tmp_path / mode)
        stored.append(int((cv2.imread(str(kept), cv2.IMREAD_UNCHANGED) > 0).sum()))
        scored.append(sum(r["n"] for r in next(iter(report["conditions"].values()))["ranges"]))
    assert scored == stored
    assert 0 < stored[1] < 0.9 * stored[0]


def test_eval_leaves_the_masked_vehicle_out(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model")
    write_tree(tmp_path / "tree", lidar_points=((10.0, 1.0, 0.5), (10.0, -1.0, 0.5)))
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    found = []
    box = ["--vehicle-box", "1.5", "-0", "1", "1", "1", "8"]  # y = 1 of the lidar is on the left
    for extra in ([], ["--ego-mask", str(tmp_path / "mask.png")], box):
        drive = ["--drive", str(tmp_path / "tree"), "--model", str(model)]
        assert main(["eval", *drive, *extra, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        found.append(sum(r["n"] for r in next(iter(report["conditions"].values()))["ranges"]))
    assert found == [2, 1, 1]
    assert report["truth"] == "without the vehicle itself"
