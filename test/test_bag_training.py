"""From one's own bag to a model: region maps, both stages, the model file, depth in the bag."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skimage")
pytest.importorskip("onnxscript")

import onnxruntime
from bag_command_support import pictures
from moving_scene import CAMERA, MovingScene

from rosam_core.assembly import networks, training_data
from rosam_core.cli import main
from rosam_core.config import load_config
from rosam_core.drives.bag_writer import write_drive
from rosam_core.engines.registry import default_model_path
from rosam_core.export import DeployedStudent
from rosam_core.recipe import Recipe
from rosam_core.types import ModelCard

pytestmark = pytest.mark.torch

SMALL = (
    "data.width=96",
    "data.height=64",
    "data.canonical_focal_px=95",
    "data.workers=0",
    "train.batch_size=2",
    "train.threads=1",
    "train.accelerator=cpu",
    "train.log_every=1",
)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Six frames of a textured wall over a road, with camera_info and /tf."""
    path = tmp_path_factory.mktemp("bag") / "drive.mcap"
    write_drive(MovingScene(6), path)
    return path


def rosam(*words):
    assert main([str(word) for word in words]) == 0


def losses(out):
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_the_commands_of_the_documentation_in_their_order(bag, tmp_path, capsys):
    masks, day, real = tmp_path / "masks", tmp_path / "day", tmp_path / "real"
    given = [f"data.drives={bag}", *SMALL]
    rosam("masks", bag, "-o", masks, "--source", "superpixels", "segments=12")
    rosam(
        *("train", "training/recipes/bag.yaml", "--out", day, *given, "train.steps=12"),
        *("self_supervised.motion=recorded", "model.init=null", "train.learning_rate=1e-3"),
        "train.warmup_steps=1",
    )
    assert np.mean(losses(day)[-3:]) < np.mean(losses(day)[:3])
    rosam(
        *("train", "training/recipes/rosam_depth.yaml", "--out", real, *given, "train.steps=2"),
        *("model.name=light", f"rosam_depth.teacher={day / 'last.pt'}"),
        f"data.video.regions={masks}",
    )
    model, out = tmp_path / "own.onnx", tmp_path / "depth.mcap"
    rosam("export", real / "last.pt", "-o", model)
    card = ModelCard.load(model.with_suffix(".json"))
    assert card.is_metric
    assert card.training_data == "drive.mcap, by rosam_depth from day/last.pt"
    capsys.readouterr()
    rosam("bag", "run", bag, "-o", out, "--model", model, "--threads", 1)
    depth = pictures(out, "/camera/depth/image")
    assert len(depth) == 6
    assert all(np.isfinite(values).all() for _, values in depth.values())
    assert capsys.readouterr().err == ""  # the camera lies inside the views it was trained with


def test_it_starts_from_the_packaged_student():
    recipe = load_config(Recipe, "training/recipes/bag.yaml", [])
    packaged = default_model_path()
    card = ModelCard.load(packaged.with_suffix(".json"))
    assert packaged.samefile(recipe.model.init)
    assert recipe.data.canonical_focal_px == card.training_focal_px
    student = DeployedStudent(networks(recipe)["student"].eval(), card.confidence_temperature)
    shape = (1, card.input_height, card.input_width, 3)
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    with torch.no_grad():
        depth, confidence = (x.numpy() for x in student(torch.from_numpy(image)))
    session = onnxruntime.InferenceSession(packaged, providers=["CPUExecutionProvider"])
    expected = session.run(["depth", "confidence"], {"image": image})
    np.testing.assert_allclose(depth, expected[0], rtol=1e-3)
    np.testing.assert_allclose(confidence, expected[1], atol=1e-3)


def test_a_picture_that_training_stretches_is_warned_of(bag, caplog):
    def opened(*overrides):
        caplog.clear()
        given = [f"data.drives={bag}", *SMALL, *overrides]
        training_data(load_config(Recipe, "training/recipes/bag.yaml", given))
        return caplog.text

    assert "stretched" not in opened("data.width=224", "data.height=160")
    assert "keep the shape: use data.video.view.resize=crop" in opened()  # no size fits better
    assert "stretched" not in opened("data.width=192", "data.video.view.resize=crop")
    text = opened("data.width=192")
    size = f"{CAMERA.width}x{CAMERA.height} are stretched to 192x64"
    assert f"images of {size}, their pixels 2.10 times as wide" in text
    assert "use data.width=128 data.height=96" in text
