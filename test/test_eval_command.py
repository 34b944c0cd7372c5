"""`rosam eval` on drives whose scores are known by hand."""

import json
import math

import cv2
import numpy as np
import pytest
from support import write_tiny_model
from test_nuscenes import write_tree

from rosam_core.cli import main
from rosam_core.drives.bag_writer import write_drive as write_bag
from rosam_core.drives.base import Drive
from rosam_core.drives.opening import find_kind, open_drives
from rosam_core.drives.synthetic import drive as disk
from rosam_core.types import Camera, Frame

WIDTH, HEIGHT = 64, 48
FOCAL = 64.0


def write_drive(
    folder,
    conditions=("day-clear", "night"),
    frames=2,
    schedule=None,
    depth=12.0,
    by_day=(100,),
):
    """Grey images of levels 100, or those of `by_day` in turn, and 200 at night.

    Of level 100 the tiny model answers 12 m with confidence 1 - 100/510.
    """
    for name in conditions:
        (folder / "images" / name).mkdir(parents=True)
    for name in ("depth", "instances"):
        (folder / name).mkdir()
    truth = np.full((HEIGHT, WIDTH), depth, np.float32)
    truth[0] = np.inf  # sky
    for index in range(frames):
        level = {"day-clear": by_day[index % len(by_day)], "night": 200}
        for name in conditions:
            if schedule and schedule[index] != name:
                continue
            image = np.full((HEIGHT, WIDTH, 3), level[name], np.uint8)
            path = folder / "images" / name / f"{index:06d}.png"
            path.write_bytes(disk.encode_image(image, ".png"))
        (folder / "depth" / f"{index:06d}.png").write_bytes(disk.encode_depth(truth))
        ids = np.zeros((HEIGHT, WIDTH), np.uint16)
        (folder / "instances" / f"{index:06d}.png").write_bytes(disk.encode_ids(ids))
    T = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
    meta = {
        "format": disk.FORMAT,
        "fx": FOCAL,
        "fy": FOCAL,
        "cx": 31.5,
        "cy": 23.5,
        "width": WIDTH,
        "height": HEIGHT,
        "conditions": list(conditions),
        "image_suffix": ".png",
        "frames": [
            {
                "stamp_ns": 10**9 + index * 10**8,
                "T_world_camera": T.tolist(),
                **({"condition": schedule[index]} if schedule else {}),
            }
            for index in range(frames)
        ],
    }
    (folder / "drive.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "model", WIDTH, HEIGHT)


def evaluate(capsys, *arguments):
    code = main(["eval", *map(str, arguments)])
    return code, capsys.readouterr()


def test_every_condition_is_scored_by_hand(tmp_path, capsys, model):
    write_drive(tmp_path / "drives" / "a")
    write_drive(tmp_path / "drives" / "b", depth=24.0)
    code, out = evaluate(capsys, "--model", model, "--drive", tmp_path / "drives", "--json")
    assert code == 0
    report = json.loads(out.out)
    day, night = report["conditions"]["day-clear"], report["conditions"]["night"]
    # By day 12 m is said: right for 12 m, half of 24 m. At night 22 m.
    assert day["frames"] == 4
    assert day["metric"]["abs_rel"] == pytest.approx((0 + 0.5) / 2, abs=1e-3)
    assert night["metric"]["abs_rel"] == pytest.approx((10 / 12 + 2 / 24) / 2, abs=1e-3)
    assert day["median_scaled"]["abs_rel"] == pytest.approx(0, abs=1e-3)
    # Half of the pixels are right, all at confidence 1 - 100/510.
    assert day["ece"] == pytest.approx(abs(0.5 - (1 - 100 / 510)), abs=1e-3)
    assert day["metric"]["n"] == 4 * WIDTH * (HEIGHT - 1)  # the sky is not scored
    assert day["flat_ground"]["abs_rel"] > 0
    assert report["conditions"]["all"]["frames"] == 8
    assert report["sha256"]


def write_picture_of_two_levels(folder):
    """Half of it is 5 m away, of level 80; the other 11 m, of level 200."""
    write_drive(folder, ("day-clear",), frames=1)
    image = np.full((HEIGHT, WIDTH, 3), 80, np.uint8)
    truth = np.full((HEIGHT, WIDTH), 5, np.float32)
    image[:, WIDTH // 2 :], truth[:, WIDTH // 2 :] = 200, 11
    (folder / "images" / "day-clear" / "000000.png").write_bytes(disk.encode_image(image, ".png"))
    (folder / "depth" / "000000.png").write_bytes(disk.encode_depth(truth))
    return folder


def test_median_scaling_comes_before_every_range(tmp_path, capsys):
    # The network says 10 and 22 m: twice the truth, and right once scaled, whatever its card
    # says about how far it sees.
    model = write_tiny_model(tmp_path / "model", WIDTH, HEIGHT, max_depth_m=15.0)
    drive = write_picture_of_two_levels(tmp_path / "drive")
    code, out = evaluate(capsys, "--model", model, "--drive", drive, "--json")
    assert code == 0
    day = json.loads(out.out)["conditions"]["day-clear"]
    assert day["median_scaled"]["abs_rel"] == pytest.approx(0, abs=1e-3)
    assert day["metric"]["abs_rel"] == pytest.approx(1, abs=1e-3)


def test_resize_is_what_is_asked_for(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "model", WIDTH, WIDTH)
    drive = write_picture_of_two_levels(tmp_path / "drive")

    def figures(*more):
        code, out = evaluate(capsys, "--model", model, "--drive", drive, "--json", *more)
        assert code == 0
        return json.loads(out.out)

    assert "resize" not in figures()
    shares = {mode: figures("--resize", mode) for mode in ("letterbox", "stretch", "crop")}
    assert shares["stretch"]["resize"] == "stretch"
    covered = {k: v["conditions"]["day-clear"]["metric"]["coverage"] for k, v in shares.items()}
    # A square cut out of 64x48 has 48 of its 64 columns.
    assert covered == pytest.approx({"letterbox": 1, "stretch": 1, "crop": 48 / 64})


def test_table_names_its_protocol_and_both_scalings(tmp_path, capsys, model):
    write_drive(tmp_path / "a")
    figures = tmp_path / "new" / "figures.json"
    code, out = evaluate(
        capsys, "--model", model, "--drive", tmp_path / "a", "--json", figures, "--max-depth", 60
    )
    assert code == 0
    assert "truth 0.1 to 60 m, mean over images" in out.out
    lines = [line.split() for line in out.out.splitlines()]
    assert ["day-clear", "2", "metric"] in [line[:3] for line in lines]
    assert ["median-scaled"] in [line[:1] for line in lines]
    assert json.loads(figures.read_text())["range_m"] == [0.1, 60.0]


def test_boundaries_are_scored_where_depth_is_exact(tmp_path, capsys, model):
    write_drive(tmp_path / "a", ("day-clear",), frames=1)
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    arguments = ("--model", model, "--drive", tmp_path / "a", "--json", figures, "--report", page)
    code, out = evaluate(capsys, *arguments)
    assert code == 0
    # The sky in row 0 stands behind the wall: one pair a column, which a constant misses.
    found = json.loads(figures.read_text())
    boundaries = found["conditions"]["day-clear"]["boundaries"]
    assert boundaries["exact"] == {
        "frames": 1,
        "n": WIDTH,
        "precision": None,
        "recall": 0,
        "f1": 0,
    }
    assert found["frames"][0]["boundaries"]["n"] == WIDTH
    row = next(line for line in out.out.splitlines() if "exact depth" in line)
    assert row.split() == ["day-clear", "1", "exact", "depth", "-", "0.000", "0.000"]
    assert "Occluding boundaries" in page.read_text()


def test_flicker_is_measured_along_the_drive_and_its_absence_explained(tmp_path, capsys, model):
    write_drive(tmp_path / "a", frames=3, by_day=(100, 120, 100))
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    arguments = ("--model", model, "--drive", tmp_path / "a", "--json", figures)
    code, out = evaluate(capsys, *arguments, "--report", page)
    assert code == 0
    report = json.loads(figures.read_text())
    # A camera at rest: by day depth jumps from 12 to 14 m and back, at night it stays; two pairs
    # of each condition.
    flicker = {name: s["flicker"]["exact"] for name, s in report["conditions"].items()}
    assert [flicker[name]["pairs"] for name in ("day-clear", "night", "all")] == [2, 2, 4]
    assert flicker["day-clear"]["flicker"] == pytest.approx(math.log(14 / 12), rel=1e-4)
    assert flicker["night"]["flicker"] == pytest.approx(0, abs=1e-9)
    assert flicker["all"]["flicker"] == pytest.approx(math.log(14 / 12) / 2, rel=1e-4)
    assert flicker["all"]["floor"] == 0
    assert ["flicker" in frame for frame in report["frames"]] == [False, True, True] * 2
    assert "static and visible by" in out.out
    assert "Flicker" in page.read_text()
    code, out = evaluate(capsys, *arguments, "--limit", 2)
    assert code == 0
    assert "flicker not measured: no frame within 0.25 s before it (2 frames)" in out.out
    assert json.loads(figures.read_text())["flicker_note"].startswith("flicker not measured")


class Sideways(Drive):
    """A camera and a lidar that move 0.1 m a frame along a wall, pictures of levels 100 and 120 in
    turn, 0.1 s apart.
    """

    name = "sideways"

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        image = np.full((HEIGHT, WIDTH, 3), 100 + 20 * (index % 2), np.uint8)
        lidar = np.array([[x, 0.5, 12.0] for x in (-2.0, -1.0, 0.0, 1.0, 2.0)], np.float32)
        camera = Camera(FOCAL, FOCAL, 31.5, 23.5, WIDTH, HEIGHT)
        stamp_ns = 10**9 + index * 10**8
        T_world_camera = np.eye(4)
        T_world_camera[0, 3] = 0.1 * index
        return Frame(image, camera, stamp_ns, T_world_camera, lidar=lidar)


def test_without_exact_depth_flicker_is_measured_on_demand(tmp_path, capsys, model):
    bag = tmp_path / "sideways.mcap"
    write_bag(Sideways(), bag)
    for more in ((), ("--flicker",)):
        code, out = evaluate(capsys, "--model", model, "--drive", bag, "--json", *more)
        assert code == 0
        found = json.loads(out.out)["conditions"]["unknown"].get("flicker", {})
        assert set(found) == ({"own"} if more else set())
    assert found["own"]["pairs"] == 2
    assert found["own"]["flicker"] == pytest.approx(math.log(14 / 12), rel=1e-4)
    assert found["own"]["floor"] is None


def test_between_lidar_points_boundaries_are_scored_on_demand(tmp_path, capsys, model):
    write_tree(tmp_path / "tree")
    figures = tmp_path / "figures.json"
    for more, kind in (((), None), (("--lidar-boundaries",), "lidar")):
        arguments = ("--model", model, "--drive", tmp_path / "tree", "--json", figures)
        assert not evaluate(capsys, *arguments, *more)[0]
        frame = json.loads(figures.read_text())["frames"][0]
        assert frame.get("boundaries", {}).get("kind") == kind


def test_the_camera_height_that_is_stated_is_that_of_the_flat_ground(tmp_path, capsys, model):
    write_bag(Sideways(), tmp_path / "a.mcap")
    found = []
    for more in ((), ("--camera-height", 0.5), ("--camera-height", 1)):
        arguments = ("--model", model, "--drive", tmp_path / "a.mcap", "--json", *more)
        code, out = evaluate(capsys, *arguments)
        assert code == 0
        (scores,) = json.loads(out.out)["conditions"].values()
        found.append(scores.get("flat_ground", {}).get("abs_rel"))
    assert found[0] is None  # a bag's poses do not say where the ground is
    # The points are 12 m away, in row 26: 2.5 px below the axis the ground is at 12.8 or 25.6 m.
    assert found[1:] == pytest.approx([12.8 / 12 - 1, 25.6 / 12 - 1], abs=1e-3)


def test_predictions_in_16_bits_have_the_scale_that_is_stated(tmp_path, capsys):
    write_drive(tmp_path / "a", ("day-clear",), frames=1)
    (tmp_path / "depth").mkdir()
    stored = np.full((HEIGHT, WIDTH), 1200, np.uint16)
    cv2.imwrite(str(tmp_path / "depth" / "0.png"), stored)
    arguments = ("--predictions", tmp_path / "depth", "--drive", tmp_path / "a", "--json")
    for more, depth in (((), 1200 / 256), (("--png-scale", 100), 12.0)):
        code, out = evaluate(capsys, *arguments, *more)
        assert code == 0
        metric = json.loads(out.out)["conditions"]["day-clear"]["metric"]
        assert metric["abs_rel"] == pytest.approx(1 - depth / 12, abs=1e-6)


@pytest.mark.parametrize("crop", ["garg", "eigen", None])
def test_only_the_crop_is_scored_and_the_table_says_so(tmp_path, capsys, model, crop):
    write_drive(tmp_path / "a", ("day-clear",), frames=1)
    arguments = ["--model", model, "--drive", tmp_path / "a"]
    arguments += ["--crop", crop] if crop else []
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    code, out = evaluate(capsys, *arguments, "--json", figures, "--report", page)
    assert code == 0
    report = json.loads(figures.read_text())
    assert report["crop"] == (crop or "none")
    # Garg: rows int(19.59) to int(47.61), Eigen: int(15.96) to int(43.85); columns 2 to 61.
    pixels = 28 * 59 if crop else WIDTH * (HEIGHT - 1)  # the sky is in row 0
    assert report["conditions"]["day-clear"]["metric"]["n"] == pixels
    words = f"0.1 to 80 m, {crop.capitalize()} crop" if crop else "0.1 to 80 m, mean"
    assert words in out.out
    assert (" crop; metrics" in page.read_text()) == bool(crop)


def test_evaluations_of_different_windows_are_not_compared(tmp_path, capsys, model):
    write_drive(tmp_path / "a", ("day-clear",), frames=1)
    files = [tmp_path / f"{name}.json" for name in ("garg", "none")]
    for path in files:
        assert not evaluate(
            capsys,
            "--model",
            model,
            "--drive",
            tmp_path / "a",
            "--crop",
            path.stem,
            "--json",
            path,
        )[0]
    code, out = evaluate(capsys, "compare", *files)
    assert code == 1
    assert "did not score the same: 0.1 to 80.0 m with crop garg" in out.err


def test_median_condition_and_limit(tmp_path, capsys, model):
    write_drive(tmp_path / "a", frames=5)
    arguments = ("--model", model, "--drive", tmp_path / "a", "--condition", "night")
    code, out = evaluate(capsys, *arguments, "--median", "--limit", 3)
    assert code == 0
    rows = [line.split()[:3] for line in out.out.splitlines()[3:5]]
    assert rows == [["night", "3", "median-scaled"], ["flat", "ground,", "median-scaled"]]


def test_limited_frames_are_spread_over_all_drives(tmp_path, capsys, model):
    for index in range(4):
        write_drive(tmp_path / "drives" / str(index), ("day-clear",), depth=12.0 * (index + 1))
    arguments = ("--model", model, "--drive", tmp_path / "drives", "--limit", 4, "--json")
    code, out = evaluate(capsys, *arguments)
    assert code == 0
    day = json.loads(out.out)["conditions"]["day-clear"]
    # One frame of each drive: 12 m is said for 12, 24, 36 and 48 m.
    assert day["metric"]["abs_rel"] == pytest.approx((0 + 1 / 2 + 2 / 3 + 3 / 4) / 4, abs=1e-3)


def test_scheduled_drive_is_opened_in_the_condition_of_each_frame(tmp_path):
    write_drive(tmp_path / "a", frames=3, schedule=["day-clear", "night", "night"])
    (drive,) = open_drives(tmp_path / "a")
    assert [frame.condition for frame in drive] == ["day-clear", "night", "night"]


def test_nuscenes_is_found_and_its_night_told(tmp_path, capsys, model):
    write_tree(tmp_path / "tree")
    assert find_kind(tmp_path / "tree") == "nuscenes"
    code, out = evaluate(capsys, "--model", model, "--drive", tmp_path / "tree", "--json")
    assert code == 0
    assert list(json.loads(out.out)["conditions"]) == ["night"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "no drive at"),
        (lambda root: root.mkdir(), "is no drive: expected"),
        (lambda root: (root.mkdir(), (root / "drive.json").write_text("{")), "drive.json is not"),
        (
            lambda root: (root.mkdir(), (root / "drive.json").write_text('{"format": "x"}')),
            "format 'x', expected 'rosam-synthetic-1'",
        ),
        (lambda root: write_drive(root, conditions=("day-clear",)), "no synthetic drive in"),
    ],
)
def test_what_cannot_be_scored_is_told_in_one_line(tmp_path, capsys, model, prepare, message):
    root = tmp_path / "drive"
    prepare(root)
    arguments = ("--model", model, "--drive", root, "--condition", "night")
    code, out = evaluate(capsys, *arguments)
    assert code == 1
    assert message in out.err
    assert len(out.err.strip().splitlines()) == 1
