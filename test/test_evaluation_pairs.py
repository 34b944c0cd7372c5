"""Intervals over scenes, flip post-processing, saved predictions and comparisons."""

import json

import cv2
import numpy as np
import pytest
from support import ONE_SCENE, write_tiny_model
from test_eval_command import HEIGHT, WIDTH, evaluate, write_drive

from rosam_core.evaluation.compare import compare
from rosam_core.evaluation.eval_page import range_rows
from rosam_core.evaluation.flip import blend_flipped, predict_with_flip
from rosam_core.evaluation.intervals import scene_interval
from rosam_core.evaluation.metrics import image_errors, mean_range_errors, range_errors
from rosam_core.evaluation.predictions import SavedPredictions
from rosam_core.types import Camera, DepthPrediction, Frame

NAN = float("nan")


def test_interval_of_two_scenes_by_hand():
    """Draws of two scenes: both the first, one of each (half of them), both the second."""
    low, high = scene_interval([0.0, 0.0, 1.0], ["a", "a", "b"])
    assert (low, high) == (0.0, 1.0)
    middle = scene_interval([0.0, 0.0, 1.0], ["a", "a", "b"], level=0.2)
    assert middle == (pytest.approx(1 / 3), pytest.approx(1 / 3))  # weighs images, not scenes


def test_interval_narrows_with_scenes_not_with_images_of_one():
    rng = np.random.default_rng(1)
    scenes = rng.normal(0, 1, 400)

    def width(count, images):
        names = np.repeat([str(i) for i in range(count)], images)
        low, high = scene_interval(np.repeat(scenes[:count], images), list(names))
        return high - low

    # 2 x 1.96 / sqrt(n), up to the spread of so many draws
    assert width(400, 1) == pytest.approx(3.92 / 20, rel=0.15)
    assert width(100, 1) == pytest.approx(3.92 / 10, rel=0.3)
    assert width(100, 20) == pytest.approx(width(100, 1), rel=0.01)


def test_one_scene_has_no_interval_and_nan_is_no_image():
    assert scene_interval([1.0, 2.0], ["a", "a"]) is None
    assert scene_interval([1.0, NAN], ["a", "b"]) is None
    with pytest.raises(ValueError, match="2 values but 1 scenes"):
        scene_interval([1.0, 2.0], ["a"])


@pytest.mark.parametrize(
    ("max_depth_m", "last"),
    [(150, [(60, 80), (80, 150)]), (80, [(40, 60), (60, 80)]), (50, [(30, 40), (40, 50)])],
)
def test_all_scored_depth_is_in_a_bin_and_none_lies_beyond(max_depth_m, last):
    truth = np.arange(1, 200, dtype=np.float32)[None]
    bins = image_errors(truth, truth + 1, 0.1, max_depth_m)[2]
    assert sum(b["n"] for b in bins) == max_depth_m - 1
    assert [(b["from_m"], b["to_m"]) for b in bins][-2:] == last
    assert all(b["n"] for b in bins)
    rows = range_rows(mean_range_errors([bins]))[-2:]
    assert [row[0] for row in rows] == [f"{near} to {far}" for near, far in last]


def test_range_errors_by_hand():
    truth = np.float32([[2, 4, 7, 25, 90, NAN, np.inf]])
    depth = np.float32([[3, 4, 14, np.inf, 90, 5, 5]])
    bins = {(b["from_m"], b["to_m"]): b for b in range_errors(truth, depth, 0.1, 80)}
    assert bins[0, 5] == {"from_m": 0, "to_m": 5, "n": 2, "mae": 0.5, "abs_rel": 0.25}
    assert bins[5, 10]["mae"] == 7
    assert bins[20, 30]["mae"] == 55  # beyond range counts as 80 m
    assert sum(b["n"] for b in bins.values()) == 4
    other = range_errors(np.float32([[5.0]]), np.float32([[5.0]]), 0.1, 80)
    mean = mean_range_errors([list(bins.values()), other])
    assert mean[1]["mae"] == 3.5  # of the two images that have such pixels
    assert (mean[0]["frames"], mean[1]["frames"], mean[1]["n"]) == (1, 2, 2)


def test_flipped_depth_counts_alone_at_the_left_edge_and_half_in_the_middle():
    plain, flipped = np.full((2, 201), 4.0, np.float32), np.full((2, 201), 12.0, np.float32)
    blend = blend_flipped(plain, flipped)
    assert np.all(blend[:, :10] == 12)
    assert np.all(blend[:, -10:] == 4)
    np.testing.assert_allclose(blend[:, 30:170], 6.0, rtol=1e-6)  # 2 / (1/4 + 1/12)
    assert blend[0, 15] == pytest.approx(1 / (0.25 / 4 + 0.75 / 12), rel=1e-5)  # half-way down
    assert np.isinf(blend_flipped(np.full((1, 50), np.inf, np.float32), flipped[:1, :50])[0, -1])


class Columns:
    """A pipeline whose depth is the column in its own picture, plus what the picture says."""

    def predict(self, image, camera, mounting=None):
        h, w = image.shape[:2]
        assert camera.cx == pytest.approx(w / 2 - 3 if image[0, 0, 0] == 0 else w / 2 + 2)
        depth = np.tile(np.arange(1, w + 1, dtype=np.float32), (h, 1))
        return DepthPrediction(depth, depth / w, camera)


def test_flip_mirrors_image_camera_and_answer():
    image = np.zeros((4, 100, 3), np.uint8)
    image[:, -1] = 9
    plain, both = predict_with_flip(Columns(), image, Camera(50, 50, 47, 2, 100, 4))
    assert plain.depth[0, 30] == 31
    assert both.depth[0, 30] == pytest.approx(2 / (1 / 31 + 1 / 70))
    assert both.confidence[0, 30] == pytest.approx((0.31 + 0.70) / 2)
    assert both.depth[0, 0] == 100  # the mirror image's last column


def frame(stamp=7, camera="CAM_FRONT"):
    view = Camera(10, 10, 1.5, 1, 4, 3)
    return Frame(np.zeros((3, 4, 3), np.uint8), view, stamp, camera_name=camera)


@pytest.mark.parametrize(
    "name",
    ["7.npy", "000003.npy", "scene-1/003.npy", "CAM_FRONT_3.npy", "scene-1/CAM_FRONT_0007.npy"],
)
def test_saved_predictions_are_found_by_stamp_or_index(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.float64([[[1, 0, -1, NAN]] * 3]))
    prediction, flipped = SavedPredictions(tmp_path)(frame(), ONE_SCENE, 3)
    assert flipped is None
    np.testing.assert_array_equal(prediction.depth[0], [1, NAN, NAN, NAN])
    assert np.isnan(prediction.confidence).all()


def test_saved_png_has_a_scale_and_zero_is_unknown(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.full((3, 4), 1000, np.uint16))
    assert SavedPredictions(tmp_path, 100)(frame(), ONE_SCENE, 0)[0].depth[0, 0] == 10
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((3, 4), np.uint16))
    assert np.isnan(SavedPredictions(tmp_path)(frame(), ONE_SCENE, 1)[0].depth).all()


def bad_npy(folder):
    (folder / "0.npy").write_bytes(b"\x93NUMPY\x01\x00")


BAD = {
    "nothing": (lambda f: None, "holds no .npy or .png"),
    "truncated": (bad_npy, "0.npy is not a readable array"),
    "no map": (lambda f: np.save(f / "0.npy", np.zeros((2, 3, 4))), "expected one depth map"),
    "words": (lambda f: np.save(f / "0.npy", np.array([["a"]])), "expected one depth map"),
    "8 bits": (lambda f: cv2.imwrite(str(f / "0.png"), np.ones((3, 4), np.uint8)), "16-bit grey"),
    "other frame": (lambda f: np.save(f / "9.npy", np.ones((3, 4))), "no prediction in .*7.npy"),
    "twice": (
        lambda f: [np.save(f / n, np.ones((3, 4))) for n in ("1.npy", "01.npy")],
        "are predictions of one frame",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_predictions_are_named(tmp_path, case):
    prepare, message = BAD[case]
    prepare(tmp_path)
    with pytest.raises((ValueError, OSError), match=message):
        SavedPredictions(tmp_path)(frame(), ONE_SCENE, 0)


@pytest.fixture
def two(tmp_path):
    """Three drives of truth 12, 24 and 48 m, and saved predictions of 12 and of 24 m for all."""
    for name, depth in (("a", 12.0), ("b", 24.0), ("c", 48.0)):
        write_drive(tmp_path / "drives" / name, ("day-clear",), depth=depth)
        for metres in (12, 24):
            for index in range(2):
                save(tmp_path / str(metres) / name / f"{index}.npy", metres)
    return tmp_path


def save(path, metres, height=HEIGHT, width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.full((height, width), metres, np.float32))


def test_one_file_is_not_the_depth_of_two_images(two, capsys):
    save(two / "flat" / "0.npy", 12)
    save(two / "flat" / "1.npy", 12)
    arguments = ("--drive", two / "drives", "--predictions", two / "flat")
    code, said = evaluate(capsys, *arguments)
    assert code == 1
    assert "flat/0.npy would be the depth of two frames (a day-clear camera" in said.err
    assert "folder of its name" in said.err


def test_conditions_of_one_scene_have_folders_of_their_own(tmp_path, capsys):
    write_drive(tmp_path / "drives" / "a", ("day-clear", "night"), depth=12.0)
    for index in range(2):
        save(tmp_path / "maps" / "a" / f"{index}.npy", 12)
    arguments = ("--drive", tmp_path / "drives", "--predictions", tmp_path / "maps")
    assert "would be the depth of two frames" in evaluate(capsys, *arguments)[1].err
    for condition, metres in (("day-clear", 12), ("night", 24)):
        for index in range(2):
            save(tmp_path / "maps" / "a" / condition / f"{index}.npy", metres)
    code, _ = evaluate(capsys, *arguments, "--json", tmp_path / "out.json")
    assert code == 0
    found = json.loads((tmp_path / "out.json").read_text())["conditions"]
    assert found["day-clear"]["metric"]["abs_rel"] == pytest.approx(0)
    assert found["night"]["metric"]["abs_rel"] == pytest.approx(1)


def test_maps_of_another_size_have_a_page_too(two, capsys):
    for name in "abc":
        for index in range(2):
            save(two / "12" / name / f"{index}.npy", 12, HEIGHT // 2, WIDTH // 2)
    arguments = ("--drive", two / "drives", "--predictions", two / "12")
    code, said = evaluate(capsys, *arguments, "--report", two / "small.html")
    assert code == 0, said.err
    assert (two / "small.html").stat().st_size > 10_000


def test_images_of_the_same_names_and_other_cameras_are_not_compared(two, capsys):
    for name, metres in (("first", 12), ("second", 24)):
        arguments = ("--drive", two / "drives", "--predictions", two / str(metres))
        assert evaluate(capsys, *arguments, "--json", two / f"{name}.json")[0] == 0
        drive = two / "drives" / "b" / "drive.json"
        drive.write_text(drive.read_text().replace('"cx": 31.5', '"cx": 30.5'))
    with pytest.raises(ValueError, match="scored different images of the same names"):
        compare(two / "first.json", two / "second.json")


def test_saved_predictions_are_scored_and_compared(two, capsys):
    for metres in (12, 24):
        out = ("--json", two / f"{metres}.json", "--report", two / "report.html")
        code, said = evaluate(
            capsys, "--drive", two / "drives", "--predictions", two / str(metres), *out
        )
        assert code == 0, said.err
        assert "95 % over 3 scenes" in said.out
    page = (two / "report.html").read_text()
    assert "24 on drives" in page
    assert "day-clear, worst" in page
    assert "By range" in page
    report = json.loads((two / "12.json").read_text())
    assert report["conditions"]["day-clear"]["metric"]["abs_rel"] == pytest.approx(1.25 / 3)
    assert report["conditions"]["day-clear"]["ece"] is None  # files have no confidence
    assert len(report["frames"]) == 6

    result = compare(two / "12.json", two / "24.json")
    found = result["conditions"]["day-clear"]["abs_rel"]
    # 12 m: 0, 1/2, 3/4; 24 m: 1, 0, 1/2
    assert found["difference"] == pytest.approx((1 - 0.5 - 0.25) / 3)
    assert found["interval"][0] == pytest.approx(-0.5)
    assert found["interval"][1] == pytest.approx(1.0)
    assert (result["frames"], result["only_first"]) == (6, 0)
    code, said = evaluate(capsys, "compare", two / "12.json", two / "24.json")
    assert code == 0
    assert "+0.0833" in said.out
    assert "could be chance" in said.out


def test_a_frame_without_prediction_is_skipped_and_counted(two, capsys):
    for name in "abc":
        (two / "12" / name / "1.npy").unlink()
    arguments = ("--drive", two / "drives", "--predictions", two / "12")
    code, said = evaluate(capsys, *arguments, "--json", two / "part.json")
    assert code == 0
    assert said.out.count("skipped ") == 3
    report = json.loads((two / "part.json").read_text())
    assert len(report["frames_skipped"]) == 3
    assert report["conditions"]["day-clear"]["frames"] == 3


def test_flip_adds_its_rows(two, capsys):
    model = write_tiny_model(two / "model", WIDTH, HEIGHT)
    code, said = evaluate(capsys, "--drive", two / "drives", "--model", model, "--flip")
    assert code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    plain = next(line for line in lines if " metric " in line)
    flip = next(line for line in lines if line.startswith("metric, flip"))
    assert flip.split()[2:5] == plain.split()[3:6]  # the tiny model knows no left and right


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to score: name a drive with --drive"),
        (("--drive", "x", "--predictions", "y", "--flip"), "and --resize have no meaning"),
        (
            ("--drive", "x", "--predictions", "y", "--resize", "crop"),
            "--predictions scores files, so --model",
        ),
        (("--drive", "x", "--report", "."), "is a folder: name a file"),
        (("compare", "no.json", "no.json"), "no evaluation at no.json"),
    ],
)
def test_wrong_arguments(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, said = evaluate(capsys, *arguments)
    assert code == 1
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def test_compare_refuses_what_is_no_evaluation(two, capsys):
    (two / "x.json").write_text("{}")
    code, said = evaluate(capsys, "compare", two / "x.json", two / "x.json")
    assert code == 1
    assert "no evaluation with figures of single images" in said.err


def evaluation(path, f1, flicker):
    """Writes an evaluation with two scenes of two frames each; returns its file."""
    errors = {"abs_rel": 0.1, "rmse": 1.0, "delta1": 0.9}
    frames = [
        {
            **{"scene": "ab"[i // 2], "camera": "c", "stamp_ns": i, "condition": "night"},
            **{"metric": errors, "median_scaled": errors},
            **({"boundaries": {"kind": kind, "f1": f1[i]}} if kind else {}),
            **({"flicker": {"kind": "own", "flicker": flicker[i]}} if flicker[i] else {}),
        }
        for i, kind in enumerate(("exact", "exact", "exact", "lidar"))
    ]
    path.write_text(json.dumps({"frames": frames}))
    return path


def test_boundaries_and_flicker_are_compared_in_pairs(tmp_path, capsys):
    first = evaluation(tmp_path / "1.json", [0.1, 0.2, None, 0.5], [None, 0.02, None, 0.04])
    second = evaluation(tmp_path / "2.json", [0.3, 0.6, 0.9, 0.4], [0.9, 0.01, None, 0.02])
    for scaling in ("metric", "median_scaled"):
        found = compare(first, second, scaling)["conditions"]["night"]
        # The third frame has no F1 in the first one, and lidar is no exact depth.
        assert found["boundary_f1_exact"]["frames"] == 2
        assert found["boundary_f1_exact"]["difference"] == pytest.approx((0.2 + 0.4) / 2)
        assert found["boundary_f1_exact"]["interval"] is None  # of one scene
        assert found["boundary_f1_lidar"]["difference"] == pytest.approx(-0.1)
        assert found["flicker_own"]["frames"] == 2
        assert found["flicker_own"]["first"] == pytest.approx(0.03)
        assert found["flicker_own"]["interval"] == pytest.approx((-0.02, -0.01))
    code, said = evaluate(capsys, "compare", first, second)
    assert code == 0
    row = next(line for line in said.out.splitlines() if "flicker_own" in line)
    assert row.split()[0] == "2"  # frames, other than above
    assert row.endswith("differs")


def test_evaluations_without_boundaries_are_compared_as_before(two, capsys):
    for metres in (12, 24):
        arguments = ("--drive", two / "drives", "--predictions", two / str(metres))
        assert evaluate(capsys, *arguments, "--json", two / f"{metres}.json")[0] == 0
    for name in ("12.json", "24.json"):  # as written by an older version
        whole = json.loads((two / name).read_text())
        for row in whole["frames"]:
            row.pop("boundaries", None)
            row.pop("flicker", None)
        (two / name).write_text(json.dumps(whole))
    found = compare(two / "12.json", two / "24.json")["conditions"]["day-clear"]
    assert list(found) == ["abs_rel", "rmse", "delta1"]


@pytest.mark.parametrize("value", [NAN, 0.0, -1.0])
def test_predictions_without_any_depth_are_an_error(two, capsys, value):
    for name in "abc":
        for index in range(2):
            save(two / "12" / name / f"{index}.npy", value)
    arguments = ("--drive", two / "drives", "--predictions", two / "12")
    code, said = evaluate(capsys, *arguments, "--json", two / "none.json")
    assert code == 1
    assert "in none of 6 frames a pixel with true depth has a predicted one" in said.err
    assert not (two / "none.json").exists()
    save(two / "12" / "a" / "0.npy", 12)
    assert evaluate(capsys, *arguments)[0] == 0


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_leaves_nothing_is_refused(two, capsys, limit):
    arguments = ("--drive", two / "drives", "--predictions", two / "12", "--limit", limit)
    code, said = evaluate(capsys, *arguments)
    assert code == 1
    assert f"--limit must be at least 1, got {limit}" in said.err
    assert len(said.err.splitlines()) == 1
