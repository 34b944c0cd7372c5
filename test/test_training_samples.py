import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from test_augmentation import PLAIN
from training_support import write_fake_drives

from rosam_core.drives.augmentation import AugmentationOptions, letterbox_view
from rosam_core.drives.training_samples import (
    DepthTarget,
    DriveIndex,
    TrainingSamples,
    ValidationSamples,
    depth_sample,
    find_training_drives,
    shared_worlds,
)

TARGET = DepthTarget(canonical_focal_px=80.0)
SIZE = (96, 64)


def samples(drives, augmentation=PLAIN, seed=5, **options):
    return TrainingSamples(drives, SIZE, TARGET, augmentation, seed, **options)


def log_depth_of(metres, focal):
    """The label of a picture of constant depth."""
    image, depth = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), metres, np.float32)
    return depth_sample(image, depth, focal, TARGET)["log_depth"]


def test_label_is_the_depth_seen_through_the_canonical_camera():
    assert log_depth_of(10, 80.0) == pytest.approx(math.log(10))
    # Twice the focal length shows the same picture from half as far.
    assert log_depth_of(10, 160.0) == pytest.approx(math.log(5))
    assert log_depth_of(10, 40.0) == pytest.approx(math.log(20))


def test_the_metric_rule_of_the_runtime_undoes_the_label():
    metres, focal = 23.0, 61.0
    network = np.exp(log_depth_of(metres, focal))
    assert network * focal / TARGET.canonical_focal_px == pytest.approx(metres)


def test_near_far_sky_and_unknown_by_hand():
    depth = np.array([[0.4, 0.5, 100.0, 100.1, np.inf, np.nan]], np.float32)
    sample = depth_sample(np.zeros((1, 6, 3), np.uint8), depth, 160.0, TARGET)
    assert sample["valid"].tolist() == [[[False, True, True, False, False, False]]]
    assert sample["beyond"].tolist() == [[[False, False, False, True, True, False]]]
    assert np.isfinite(sample["log_depth"]).all()  # a loss may be masked, not be NaN
    expected = [math.log(0.25), math.log(50.0), math.log(60.0), math.log(60.0)]
    assert sample["log_depth"][0, 0, 1:5] == pytest.approx(expected)
    assert sample["focal"] == 160.0
    assert [sample[k].dtype for k in ("image", "log_depth", "valid", "focal")] == [
        np.uint8,
        np.float32,
        bool,
        np.float32,
    ]


def test_a_picture_without_any_depth_makes_a_sample():
    depth = np.full((4, 4), np.nan, np.float32)
    sample = depth_sample(np.zeros((4, 4, 3), np.uint8), depth, 80.0, TARGET)
    assert not sample["valid"].any()
    assert not sample["beyond"].any()


def test_stored_depth_is_256ths_of_a_metre_with_sky_and_unknown(copied):
    folder = copied / "drive_000000"
    stored = np.zeros((64, 96), np.uint16)
    stored[0, :4] = [256, 384, 65535, 0]
    cv2.imwrite(str(folder / "depth/000000.png"), stored)
    depth = DriveIndex.read(folder).depth(0)
    np.testing.assert_array_equal(depth[0, :4], [1.0, 1.5, np.inf, np.nan])


def test_images_are_rgb(copied):
    folder = copied / "drive_000000"
    red_in_bgr = np.full((64, 96, 3), (0, 0, 255), np.uint8)
    cv2.imwrite(str(folder / "images/day-clear/000000.png"), red_in_bgr)
    assert DriveIndex.read(folder).image("day-clear", 0)[0, 0].tolist() == [255, 0, 0]


def test_a_sample_depends_on_seed_and_number_only(drives):
    every = AugmentationOptions()
    first, second = samples(drives, every), samples(drives, every)
    backwards = [second[p] for p in reversed(range(30))][::-1]  # into the third epoch, and back
    for position, other in enumerate(backwards):
        one = first[position]
        assert all(np.array_equal(one[k], other[k]) for k in one)
    third = samples(drives, every, seed=6)
    assert any(not np.array_equal(first[p]["image"], third[p]["image"]) for p in range(5))


def test_an_epoch_shows_every_frame_once_in_another_order(drives):
    sequence = samples(drives)
    assert len(sequence) == 12
    epochs = [[sequence.name(e * 12 + i) for i in range(12)] for e in range(3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(set(epochs[2]))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0][0].startswith("drive_00000")


def test_without_augmentation_a_sample_is_the_frame(drives):
    whole = dataclasses.replace(PLAIN, full_view=1.0)
    sequence = samples(drives, whole, condition_weights={"night": 0.0})
    for position in range(4):
        name, frame = sequence.name(position).split("/")
        drive = next(d for d in drives if d.folder.name == name)
        image, depth, focal = letterbox_view(
            drive.image("day-clear", int(frame)), drive.depth(int(frame)), drive.camera, SIZE
        )
        sample = sequence[position]
        assert np.array_equal(sample["image"].transpose(1, 2, 0), image)
        known = sample["valid"][0]
        metres = np.exp(sample["log_depth"][0]) * focal / TARGET.canonical_focal_px
        np.testing.assert_allclose(metres[known], depth[known], rtol=1e-5)
        assert np.array_equal(sample["beyond"][0], np.isinf(depth) | (depth > 100))


def test_a_crop_of_half_the_width_halves_the_canonical_depth(drives):
    half = dataclasses.replace(PLAIN, full_view=0.0, crop=(0.5, 0.5))
    whole = dataclasses.replace(PLAIN, full_view=1.0)
    cropped, plain = samples(drives, half)[0], samples(drives, whole)[0]
    assert cropped["focal"] == pytest.approx(2 * plain["focal"], rel=0.02)
    ratio = plain["focal"] / cropped["focal"]
    known = np.exp(plain["log_depth"][plain["valid"]]).astype(np.float64)
    seen = np.exp(cropped["log_depth"][cropped["valid"]]).astype(np.float64) / ratio
    # Each depth of the crop is one of the frame's, times the ratio of the focal lengths.
    nearest = np.abs(seen[:, None] - np.unique(known)[None]).min(axis=1)
    assert (nearest / seen).max() < 1e-4


def test_condition_weights_set_how_often(drives):
    whole = dataclasses.replace(PLAIN, full_view=1.0)
    sequence = samples(drives, whole, condition_weights={"night": 3.0})
    nights = 0
    for position in range(200):
        name, frame = sequence.name(position).split("/")
        night = next(d for d in drives if d.folder.name == name).image("night", int(frame))
        nights += abs(sequence[position]["image"].mean() - night.mean()) < 1
    assert 130 <= nights <= 170  # 150 expected, deviation 6


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"dusk": 2.0}, "condition_weights: dusk=2.0, expected weights >= 0 of the conditions"),
        ({"night": -1.0}, "condition_weights: night=-1.0"),
        ({"night": float("nan")}, "condition_weights: night=nan"),
        ({"night": 0.0, "day-clear": 0.0}, "leave nothing of drive_000000, which has only day-"),
    ],
)
def test_wrong_condition_weights(drives, weights, message):
    with pytest.raises(ValueError, match=message):
        samples(drives, condition_weights=weights)


def test_bars_stay_black_whatever_the_look(drives):
    camera = drives[0].camera
    wide = TrainingSamples(
        drives, (128, 64), TARGET, AugmentationOptions(full_view=1.0, rotate=0.0), 1
    )
    assert camera.width / camera.height < 2
    for position in range(10):
        sample = wide[position]
        bars = ~(sample["valid"] | sample["beyond"])[0]
        assert bars[:, :2].all() or bars[:, -2:].all()
        assert (sample["image"][:, bars] == 0).all()


def test_validation_spreads_over_the_drives_in_every_condition(drives):
    few = ValidationSamples(drives, SIZE, TARGET, limit=4)
    assert len(few) == 4
    assert [few.condition(i) for i in range(4)] == ["day-clear", "night"] * 2
    assert {s[0].folder.name for s in few.samples} == {"drive_000000", "drive_000002"}
    every = ValidationSamples(drives, SIZE, TARGET, limit=1000)
    assert len(every) == 24
    assert len(ValidationSamples(drives, SIZE, TARGET, limit=1)) == 2  # never none
    sample, again = every[5], every[5]
    assert all(np.array_equal(sample[k], again[k]) for k in sample)


def test_worlds_are_known_by_their_seed(drives, tmp_path):
    others = find_training_drives(write_fake_drives(tmp_path, drives=2, frames=1, seed=3))
    assert [d.seed for d in drives] == [2000, 2001, 2002]
    assert shared_worlds(drives, others) == []
    assert shared_worlds(drives, [*others, drives[1]]) == [2001]


def test_one_drive_is_a_folder_of_one(root):
    (drive,) = find_training_drives(root / "drive_000001")
    assert drive.folder.name == "drive_000001"


def test_no_drives_say_how_to_make_some(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; make some with: rosam synth"):
        find_training_drives(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="holds no synthetic drive; make some with"):
        find_training_drives(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other-2"}, "format is 'other-2', expected 'rosam-synthetic-1'"),
        ({"fx": "wide"}, "could not convert string to float"),
        ({"fx": 0}, "positive focal lengths"),
        ({"frames": None}, "does not describe a synthetic drive"),
        ({"seed": None}, "does not describe a synthetic drive"),
    ],
)
def test_a_damaged_description_is_named(copied, change, message):
    path = copied / "drive_000001/drive.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        find_training_drives(copied)


def test_text_that_is_no_json_is_named(copied):
    (copied / "drive_000001/drive.json").write_text("{")
    with pytest.raises(ValueError, match=r"drive_000001.drive\.json does not describe"):
        find_training_drives(copied)


def test_missing_and_wrong_files_are_named(copied):
    folder = copied / "drive_000000"
    drive = DriveIndex.read(folder)
    (folder / "images/night/000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*000001\.jpg or \.png"):
        drive.image("night", 1)
    (folder / "depth/000001.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"cannot read .*000001\.png: missing or trunc"):
        drive.depth(1)
    cv2.imwrite(str(folder / "depth/000002.png"), np.zeros((32, 96), np.uint16))
    with pytest.raises(ValueError, match="is 96x32, its drive says 96x64"):
        drive.depth(2)


def test_half_a_picture_is_no_picture(copied):
    """A decoder paints the part of a JPEG that is missing grey and says nothing."""
    folder = copied / "drive_000000"
    drive = DriveIndex.read(folder)
    whole = drive.image("night", 1)
    (folder / "images/night/000001.png").unlink()
    path = folder / "images/night/000001.jpg"
    cv2.imwrite(str(path), whole)
    assert drive.image("night", 1).shape == whole.shape
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"000001\.jpg cannot be read.*truncated"):
        drive.image("night", 1)


def test_training_names_and_counts_a_damaged_picture_and_goes_on(copied, caplog):
    pytest.importorskip("torch")
    from rosam_core.loader import batches

    drives = find_training_drives(copied)
    whole = samples(drives)
    damaged = next(p for p in range(12) if whole.name(p) == "drive_000001/000002")
    for path in (copied / "drive_000001/images").glob("*/000002.png"):
        path.write_bytes(path.read_bytes()[:500])
    with caplog.at_level("WARNING"):
        stream = batches(samples(drives), 0, 12, workers=0)
        first = next(stream)
        next(stream)
    expected = whole[damaged + 1]["image"]
    np.testing.assert_array_equal(first["image"][damaged].numpy(), expected)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "drive_000001/000002 is left out" in said[0]
    assert "000002.png cannot be read" in said[0]
    assert "(2 times so far)" in said[1]
    for path in copied.glob("*/images/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        next(batches(samples(drives), 0, 2, workers=0))


def test_repainted_objects_keep_their_depth(drives):
    without = dataclasses.replace(PLAIN, crop=(1.0, 1.0))
    painted = dataclasses.replace(without, repaint=1.0, repaint_share=1.0)
    first, second = (
        TrainingSamples(drives, (96, 64), TARGET, options, 1)[0] for options in (without, painted)
    )
    np.testing.assert_array_equal(first["log_depth"], second["log_depth"])
    changed = (first["image"] != second["image"]).any(axis=0)
    # The wall is the only object of these drives: 40 rows of 30 columns.
    assert 0.5 * 1200 < changed.sum() <= 1200
    mask = drives[0].instances(0)
    assert mask.dtype == np.uint16
    assert (mask == 1).sum() == 1200


def upright(root):
    """Makes the cameras of fake drives stand on their ground, and their walls flat."""
    for path in root.glob("*/drive.json"):
        drive = json.loads(path.read_text(encoding="utf-8"))
        for frame in drive["frames"]:
            frame["T_world_camera"][2] = [0.0, -1.0, 0.0, 1.5]
        path.write_text(json.dumps(drive), encoding="utf-8")
    for path in root.glob("*/depth/*.png"):
        wall = cv2.imread(str(path.parents[1] / "instances" / path.name), cv2.IMREAD_UNCHANGED)
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(wall == 1, 6 * 256, depth).astype(np.uint16))
    return find_training_drives(root)


def test_pasted_objects_are_nearer_than_what_they_hide_and_are_of_the_same_light(copied):
    drives = upright(copied)
    without = dataclasses.replace(PLAIN, crop=(1.0, 1.0), full_view=1.0)
    pasted = dataclasses.replace(without, paste=1.0)
    night = {"day-clear": 0.0}  # drives of two conditions
    plain, other, again = (
        samples(drives, options, condition_weights=night) for options in (without, pasted, pasted)
    )
    changed_in = 0
    for position in range(24):
        first, second = plain[position], other[position]
        changed = first["log_depth"] != second["log_depth"]
        assert (second["log_depth"] <= first["log_depth"]).all()
        changed_in += changed.any()
        unchanged = ~changed[0]
        np.testing.assert_array_equal(first["image"][:, unchanged], second["image"][:, unchanged])
        # A third of the day's brightness: nothing of the day has come in.
        assert second["image"].max() <= 90
        np.testing.assert_array_equal(second["image"], again[position]["image"])
    assert changed_in > 6


def test_objects_are_taken_from_drives_of_the_same_condition(copied):
    drives = [
        dataclasses.replace(drive, conditions=(drive.conditions[i > 0],))
        for i, drive in enumerate(upright(copied))
    ]
    for drive in drives:  # so that another condition cannot be read
        for folder in (drive.folder / "images").iterdir():
            if folder.name not in drive.conditions:
                shutil.rmtree(folder)
    pasted = samples(drives, dataclasses.replace(PLAIN, crop=(1.0, 1.0), paste=1.0))
    assert all(pasted[position]["image"].any() for position in range(24))


def test_a_pose_that_is_no_matrix_is_named(copied):
    path = next(iter(copied.glob("*/drive.json")))
    drive = json.loads(path.read_text(encoding="utf-8"))
    drive["frames"][0]["T_world_camera"] = [[1.0, 0.0, 0.0, 0.0]]
    path.write_text(json.dumps(drive), encoding="utf-8")
    with pytest.raises(ValueError, match=r"drive\.json does not describe a synthetic drive"):
        find_training_drives(copied)
