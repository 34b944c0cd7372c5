"""`rosam calibrate`: a temperature by hand, whole files or none, clear refusals."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")

from support import write_tiny_model

from rosam_core import cli, recalibrate
from rosam_core.engines.contract import load_card
from rosam_core.engines.registry import load_engine

LEVEL = 102  # the tiny model says 12.2 m with confidence 0.8
HALF = math.log(5) / math.log(2)  # 1 - 0.2^(1/t) = 0.5


@pytest.fixture
def drive(tmp_path):
    """Three grey pictures; half of each is 12.2 m away, half 30 m."""
    for i in range(3):
        for folder, values in (
            ("images", np.full((48, 64, 3), LEVEL, np.uint8)),
            ("depth", np.where(np.arange(64) < 32, 12.2 * 256, 30 * 256)[None].repeat(48, 0)),
        ):
            path = tmp_path / "drive" / folder / f"{i:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = values if folder == "images" else values.astype(np.uint16)
            cv2.imwrite(str(path), kept)
    return tmp_path / "drive"


@pytest.fixture
def model(tmp_path):
    results = {"training": {"step": 1}, "there": {"sha256": "of this file", "ece": 0.3}}
    return write_tiny_model(tmp_path / "model", results=results)


def calibrate(model, drive, *more):
    views = ["--fov", "53", "--depth", str(drive / "depth"), "--threads", "1"]
    return cli.main(["calibrate", str(model), str(drive / "images"), *views, *more])


def answers(model, level):
    engine = load_engine(model, "onnx-cpu", 1)
    return [float(a[0, 5, 5]) for a in engine.infer(np.full((1, 48, 64, 3), level, np.uint8))]


def test_the_temperature_by_hand(model, drive, capsys):
    before = answers(model, 200)
    assert calibrate(model, drive) == 0
    card = load_card(model)  # of this very file
    assert card.confidence_temperature == pytest.approx(HALF, rel=0.05)
    depth, confidence = answers(model, LEVEL)
    assert depth == pytest.approx(12.2)
    assert confidence == pytest.approx(0.5, abs=0.02)
    fit = card.results["calibration"]
    assert fit["ece_before"] == pytest.approx(0.3, abs=0.02)
    assert fit["ece"] < 0.005
    assert fit["conditions"]["unknown"]["images"] == 3
    t = card.confidence_temperature
    depth, confidence = answers(model, 200)
    assert depth == before[0]
    assert confidence == pytest.approx(1 - (1 - before[1]) ** (1 / t), abs=1e-5)
    # What was measured of the former file is not said of this one.
    assert set(card.results) == {"training", "calibration"}
    out = capsys.readouterr().out
    assert "left out of the card: there" in out
    assert "b x 2." in out


def test_frames_that_cannot_be_read_are_left_out_and_counted(model, drive, capsys):
    (drive / "images" / "000001.png").write_bytes(b"no picture")
    assert calibrate(model, drive, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "1 of 3 frames skipped; the first: images frame 1: " in out
    assert calibrate(model, drive) == 0
    fit = load_card(model).results["calibration"]
    assert (fit["images"], fit["frames_skipped"]) == (2, 1)
    for path in (drive / "depth").iterdir():
        path.write_bytes(b"no depth")
    capsys.readouterr()
    assert calibrate(model, drive) == 1
    error = capsys.readouterr().err
    assert "none of 3 frames can be read; the first: images frame 0: " in error


def test_once_more_changes_nothing(model, drive):
    calibrate(model, drive)
    first = load_card(model)
    calibrate(model, drive)
    second = load_card(model)
    assert second.results["calibration"]["temperature"] == pytest.approx(1, abs=1e-3)
    ratio = second.confidence_temperature / first.confidence_temperature
    assert ratio == pytest.approx(1, abs=1e-3)
    assert second.results["calibration"]["ece_before"] < 0.005


def test_another_file_leaves_the_model_alone(model, drive, tmp_path, capsys):
    before = model.read_bytes()
    output = tmp_path / "new" / "out.onnx"
    assert calibrate(model, drive, "--dry-run", "-o", str(output)) == 0
    assert not output.exists()
    assert calibrate(model, drive, "-o", str(output), "--json") == 0
    text = capsys.readouterr().out
    report = json.loads(text[text.index("{") :])
    assert report["output"] == str(output)
    assert model.read_bytes() == before
    assert sorted(p.name for p in output.parent.iterdir()) == ["out.json", "out.onnx"]
    card = load_card(output)
    assert card.confidence_temperature == pytest.approx(HALF, rel=0.05)
    assert card.name == "out"  # two models of one name could not be told apart in a log


def test_relative_depth_is_judged_after_scaling(tmp_path, drive):
    model = write_tiny_model(tmp_path / "relative", is_metric=False)
    for path in (drive / "depth").iterdir():  # thrice as far, all of it
        cv2.imwrite(str(path), np.full((48, 64), 36.6 * 256, np.uint16))
    assert calibrate(model, drive) == 0
    calibration = load_card(model).results["calibration"]
    assert calibration["scaling"] == "median-scaled"
    assert calibration["ece_before"] == pytest.approx(0.2, abs=0.01)  # all right, 0.8 stated
    assert answers(model, LEVEL)[1] > 0.99


def test_a_drive_without_depth_is_refused_in_one_line(model, drive, capsys):
    before = model.read_bytes()
    asked = ["calibrate", str(model), str(drive / "images"), "--fov", "53", "--threads", "1"]
    assert cli.main(asked) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "there is nothing to calibrate against" in error
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["no.onnx", "DRIVE"], 1, "model no.onnx: no such file"),
        (["last.pt", "DRIVE"], 2, "a checkpoint needs -o OUTPUT.onnx"),
        (["MODEL", "nowhere"], 1, "no drive at nowhere"),
        (["MODEL", "DRIVE", "-o", "out.pt"], 1, "name an .onnx file"),
        (["MODEL", "DRIVE", "--limit", "0"], 1, "--limit must be at least 1"),
        (["MODEL", "DRIVE", "--condition", "night"], 1, "has no frame of night"),
    ],
)
def test_what_is_wrong_is_one_line(model, drive, capsys, arguments, status, message):
    places = {"MODEL": str(model), "DRIVE": str(drive / "images")}
    asked = ["calibrate", *(places.get(a, a) for a in arguments), "--fov", "53"]
    try:
        found = cli.main(asked)
    except SystemExit as stopped:
        found = stopped.code
    assert found == status
    assert message in capsys.readouterr().err


def test_a_card_of_another_file_is_refused(model, drive, tmp_path, capsys):
    other = write_tiny_model(tmp_path / "other", name="other", width=128)
    shutil.copy(other, model)
    assert calibrate(model, drive) == 1
    assert "do not belong together" in capsys.readouterr().err


def test_a_file_that_does_not_compute_what_it_should_is_not_kept(
    model, drive, monkeypatch, capsys
):
    before = model.read_bytes()
    right = recalibrate.set_factor
    monkeypatch.setattr(recalibrate, "set_factor", lambda graph, factor: right(graph, 2 * factor))
    assert calibrate(model, drive) == 1
    assert "calibration refused" in capsys.readouterr().err
    assert model.read_bytes() == before
    assert sorted(p.name for p in model.parent.iterdir()) == ["tiny.json", "tiny.onnx"]


def test_no_torch_is_needed_for_a_model_file(model, drive):
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from rosam_core import cli\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    asked = ["calibrate", str(model), str(drive / "images"), "--fov", "53"]
    asked += ["--depth", str(drive / "depth"), "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", script, *asked], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
