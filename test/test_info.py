import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import write_tiny_model

from rosam_core.cli import main
from rosam_core.drives.synthetic.drive import FORMAT
from rosam_core.types import card_path, file_sha256

RECIPE = Path(__file__).resolve().parents[1] / "training/recipes/pretrain_synthetic.yaml"


def write_drive(folder: Path, frames: int = 3, name: str = "drive_000000") -> Path:
    """A drive of two conditions that moves 2 m a frame; its pictures are empty files."""
    drive = folder / name
    poses = []
    for index in range(frames):
        pose = np.eye(4)
        pose[2, 3] = 2.0 * index
        poses.append({"stamp_ns": index * 100_000_000, "T_world_camera": pose.tolist()})
    meta = {"format": FORMAT, "seed": 7, "fps": 10, "width": 64, "height": 48, "fx": 50.0,
            "fy": 50.0, "cx": 31.5, "cy": 23.5, "conditions": ["night", "fog"],
            "frames": poses}  # fmt: skip
    for condition in ("night", "fog"):
        (drive / "images" / condition).mkdir(parents=True)
        for index in range(frames):
            (drive / "images" / condition / f"{index:06d}.jpg").touch()
    (drive / "drive.json").write_text(json.dumps(meta))
    return drive


def info(capsys: pytest.CaptureFixture[str], path: Path) -> dict:
    assert main(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path, results={"night": {"abs_rel": 0.12}})
    facts = info(capsys, model)
    assert facts["kind"] == "model"
    assert facts["card"]["input_width"] == 64
    assert facts["card"]["sha256"] == file_sha256(model)
    assert info(capsys, card_path(model)) == facts
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"licence +Apache-2\.0\n", text)
    assert re.search(r"focal_range_px +32\.0, 128\.0\n", text)
    assert re.search(r"night:\n +abs_rel +0\.12", text)


def test_a_card_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path)
    model.unlink()
    facts = info(capsys, card_path(model))
    assert facts["kind"] == "card"
    assert facts["checked"] == "the card alone: there is no tiny.onnx beside it"


def test_drive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = write_drive(tmp_path)
    facts = info(capsys, drive)
    assert facts == info(capsys, drive / "drive.json")
    assert facts["kind"] == "drive"
    assert (facts["frames"], facts["duration_s"], facts["length_m"]) == (3, 0.2, 4.0)
    assert facts["size"] == "64x48"
    assert facts["fov_x_deg"] == 65.2  # 2 atan(32 / 50)
    assert facts["images"] == {"night": 3, "fog": 3}
    assert facts["complete"] is True
    (drive / "images" / "fog" / "000001.jpg").unlink()
    assert info(capsys, drive)["complete"] is False


def test_folder_of_drives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_drive(tmp_path, 3)
    write_drive(tmp_path, 5, "drive_000001")
    facts = info(capsys, tmp_path)
    assert (facts["kind"], facts["drives"], facts["frames"]) == ("drives", 2, 8)
    assert facts["conditions"] == ["fog", "night"]


@pytest.mark.torch
def test_what_training_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning")
    from training_support import small_overrides, write_fake_drives

    from rosam_core.config import load_config
    from rosam_core.models import create_model
    from rosam_core.recipe import Recipe
    from rosam_core.trainer import train

    write_fake_drives(tmp_path / "train", drives=1)
    overrides = [*small_overrides(tmp_path), "train.steps=1", "data.val_drives=null"]
    train(load_config(Recipe, RECIPE, overrides), tmp_path / "run")
    capsys.readouterr()
    path = tmp_path / "run" / "last.pt"
    count = sum(weight.numel() for weight in create_model("light").parameters())
    facts = info(capsys, path)
    assert (facts["kind"], facts["step"], facts["parameters"]) == ("checkpoint", 1, count)
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"parameters   {count}\n" in shown
    assert "recipe:\n" in shown
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:200])
    assert main(["info", str(tmp_path / "cut.pt")]) == 1
    assert "not a readable checkpoint" in capsys.readouterr().err


def text_file(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


def card_of_another_file(folder: Path) -> Path:
    return write_tiny_model(folder, sha256="f" * 64)


def drive_without(field: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_drive(folder) / "drive.json"
        meta = json.loads(path.read_text())
        del meta[field]
        path.write_text(json.dumps(meta))
        return path

    return make


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda d: d / "gone", "gone does not exist: give a model"),
    "empty folder": (lambda d: d, "no synthetic drives under"),
    "images": (lambda d: text_file("0.png", "")(d).parent, "kind frames: see `rosam drive info"),
    "text": (text_file("notes.txt", "hello"), "is none of .onnx, .json, .pt or a drive folder"),
    "card": (text_file("model.json", "{"), "is not JSON"),
    "other model": (card_of_another_file, "its card tiny.json says ffffffffffff..."),
    "drive text": (text_file("drive.json", "not json"), "is not JSON"),
    "drive foreign": (text_file("drive.json", '{"format": "x"}'), "is not a synthetic drive"),
    "drive camera": (drive_without("fx"), "lacks the field 'fx'"),
    "drive conditions": (drive_without("conditions"), "lacks the field 'conditions'"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    make, message = BAD[case]
    assert main(["info", str(make(tmp_path))]) == 1
    caught = capsys.readouterr()
    assert caught.out == ""
    assert message in caught.err
    assert caught.err.count("\n") == 1
