import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from training_support import write_fake_drives

from rosam_core import export
from rosam_core.calibrate import fit_to_errors
from rosam_core.checkpoint import load_checkpoint, load_student_weights, save_checkpoint
from rosam_core.cli import main
from rosam_core.commands.export import _other_uses, parse_size
from rosam_core.config import to_yaml
from rosam_core.drives.training_samples import find_training_drives
from rosam_core.models import MODELS, create_model
from rosam_core.recipe import DataOptions, ModelOptions, Recipe
from rosam_core.types import ModelCard, card_path, file_sha256

pytestmark = pytest.mark.torch


def write_checkpoint(folder, name="light", drives="data/none", val="data/none"):
    torch.manual_seed(0)
    model = create_model(name)
    for module in model.modules():  # statistics as after some training, not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    state = {
        "ema": model.state_dict(),
        "step": 12,
        "commit": "abc",
        "focal_range": [60.0, 120.0],
        "validation": {"all": {"abs_rel": 0.5}},
        "recipe": to_yaml(
            Recipe(
                model=ModelOptions(name=name),
                data=DataOptions(
                    width=96, height=64, canonical_focal_px=80.0, drives=drives, val_drives=val
                ),
            )
        ),
    }
    save_checkpoint(folder / "last.pt", state)
    return folder / "last.pt"


class Exported(NamedTuple):
    checkpoint: Path
    model: Path
    card: ModelCard
    temperature: float


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """By the command: calibrated on drives that also chose the checkpoint, with two results."""
    folder = tmp_path_factory.mktemp("light")
    drives = write_fake_drives(folder / "drives" / "held-out", drives=2, frames=2, seed=9)
    checkpoint = write_checkpoint(folder, "light", drives=str(folder / "none"), val=str(drives))
    model = folder / "out" / "m.onnx"
    (folder / "speed.json").write_text('{"ms": 7.0}')
    arguments = ["export", str(checkpoint), "-o", str(model), "--size", "128x64"]
    arguments += ["--calibrate", str(drives), "--results", f"fast={folder / 'speed.json'}"]
    assert main(arguments) == 0
    card = ModelCard.load(model.with_suffix(".json"))
    return Exported(checkpoint, model, card, card.confidence_temperature)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet18")
    checkpoint = write_checkpoint(folder, "resnet18")
    model = folder / "out" / "m.onnx"
    card = export.export_checkpoint(checkpoint, model, (128, 64), 1.5, {"fast": {"ms": 7.0}})
    return Exported(checkpoint, model, card, 1.5)


@pytest.fixture(scope="module")
def monodepth2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monodepth2")
    checkpoint, model = write_checkpoint(folder, "monodepth2"), folder / "m.onnx"
    return Exported(checkpoint, model, export.export_checkpoint(checkpoint, model), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_training_starts_from_the_exported_file(name, request):
    exported = request.getfixturevalue(name)
    trained = export.load_student(exported.checkpoint).student
    again = create_model(name).eval()
    load_student_weights(again, exported.model)
    picture = torch.rand(1, 3, 64, 128)
    with torch.no_grad():
        for key in ("inverse_depth", "log_b"):
            assert torch.equal(again(picture)[key], trained(picture)[key])


@pytest.mark.slow
def test_an_exported_file_is_exported_at_another_size(light, tmp_path):
    same, wide = tmp_path / "same.onnx", tmp_path / "wide.onnx"
    assert main(["export", str(light.model), "-o", str(same)]) == 0
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 128, 3), np.uint8)
    answers = [
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": images})
        for path in (light.model, same)
    ]
    for before, after in zip(*answers, strict=True):  # the confidence keeps its temperature
        np.testing.assert_allclose(after, before, rtol=1e-5)
    other = str(write_fake_drives(tmp_path / "other", drives=1, frames=1, seed=3))
    wider = ["export", str(light.model), "-o", str(wide), "--size", "192x96"]
    assert main([*wider, "--calibrate", other]) == 0
    card = ModelCard.load(wide.with_suffix(".json"))
    assert card.results["calibration"]["also_used_for"] == ["training: unknown"]
    assert main(wider) == 0
    card = ModelCard.load(wide.with_suffix(".json"))
    assert (card.input_width, card.input_height) == (192, 96)
    kept = ("training_focal_px", "focal_range_px", "confidence_temperature", "training_data")
    assert all(getattr(card, name) == getattr(light.card, name) for name in kept)
    assert card.results["training"]["resized_from"] == light.card.sha256
    assert "fast" not in card.results  # measured with the other size
    quantised = {"quantization": {"made_from": {"name": "m", "sha256": "0123456789abcdef"}}}
    card_path(wide).write_text(dataclasses.replace(card, results=quantised).to_json())
    with pytest.raises(
        ValueError, match=r"an 8-bit model: export the float one .* m \(0123456789ab"
    ):
        export.load_student(wide)


@pytest.mark.slow
def test_weights_of_another_student_are_refused(light, tmp_path):
    with pytest.raises(ValueError, match=r"does not hold the weights.*is model\.name right"):
        load_student_weights(create_model("resnet18"), light.model)
    with pytest.raises(FileNotFoundError, match="no model at"):
        load_student_weights(create_model("light"), tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(light.model.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not an ONNX file, or truncated"):
        load_student_weights(create_model("light"), tmp_path / "cut.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["light", "resnet18"])
def test_the_file_keeps_the_contract(name, request):
    exported = request.getfixturevalue(name)
    model, card = exported.model, exported.card
    graph = onnx.load(model)
    assert {o.domain: o.version for o in graph.opset_import}[""] == 18
    readers = [node.op_type for node in graph.graph.node if "image" in node.input]
    assert readers == ["Cast"]  # all that TensorRT lets bytes go into
    assert sorted(p.name for p in model.parent.iterdir()) == ["m.json", "m.onnx"]
    assert ModelCard.load(model.with_suffix(".json")) == card
    assert card.sha256 == file_sha256(model)
    assert (card.input_width, card.input_height, card.training_focal_px) == (128, 64, 80.0)
    assert card.focal_range_px == (60.0, 120.0)
    assert card.confidence_temperature == exported.temperature
    assert card.results["export"]["depth_error"] <= 1e-3
    assert card.results["fast"] == {"ms": 7.0}
    # Where the code lay when it was exported is nobody's matter.
    assert b"rosam_core/export.py" not in model.read_bytes()
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    assert (port.name, port.type, port.shape[1:]) == ("image", "tensor(uint8)", [64, 128, 3])
    assert isinstance(port.shape[0], str)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 128, 3), np.uint8)
    depth, confidence = session.run(["depth", "confidence"], {"image": images})
    assert depth.shape == confidence.shape == (5, 1, 64, 128)
    one, _ = session.run(["depth", "confidence"], {"image": images[3:4]})
    np.testing.assert_allclose(one[0], depth[3], rtol=1e-4)


def test_the_card_says_what_the_confidence_was_calibrated_on(light):
    calibration = light.card.results["calibration"]
    assert calibration["temperature"] == light.temperature != 1
    assert calibration["drives"] == "held-out"
    assert (calibration["worlds"], calibration["seeds"]) == (2, [9000, 9001])
    assert calibration["images"] == 8  # two drives, two frames, two conditions
    assert calibration["also_used_for"] == ["training: unknown", "validation"]


def test_confidence_is_the_laplace_probability_of_25_percent_with_the_temperature():
    class Constant(torch.nn.Module):
        def forward(self, images):
            ones = torch.ones(images.shape[0], 1, *images.shape[-2:])
            return {"inverse_depth": ones / 20, "log_b": ones * math.log(0.2)}

    image = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    depth, confidence = export.DeployedStudent(Constant(), 2.0)(image)
    assert depth.unique().item() == pytest.approx(20)
    assert confidence.unique().item() == pytest.approx(1 - math.exp(-math.log(1.25) / 0.4))


def test_a_model_that_differs_is_refused_and_leaves_no_file(tmp_path, monkeypatch, light):
    state = load_checkpoint(light.checkpoint)
    state["ema"]["decoder.head.bias"] += 0.01  # 1 % deeper than the file
    save_checkpoint(tmp_path / "last.pt", state)
    monkeypatch.setattr(
        export, "write_onnx", lambda model, path, size: shutil.copy(light.model, path)
    )
    with pytest.raises(ValueError, match="export refused: ONNX Runtime differs from torch"):
        export.export_checkpoint(
            tmp_path / "last.pt", tmp_path / "m.onnx", (128, 64), light.temperature
        )
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    same = export.export_checkpoint(
        light.checkpoint, tmp_path / "m.onnx", (128, 64), light.temperature
    )
    assert same.sha256 == light.card.sha256


def blue_first(graph):
    """Swaps red and blue, as a picture of OpenCV has them."""
    (cast,) = [node for node in graph.node if "image" in node.input]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 1, 0]), "blue_first"))
    swapped = onnx.helper.make_node("Gather", ["rgb", "blue_first"], [cast.output[0]], axis=3)
    cast.output[0] = "rgb"
    graph.node.insert(list(graph.node).index(cast) + 1, swapped)


def without_255(graph):
    """Leaves out the division of bytes by 255."""
    (divisor,) = [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value" and np.all(onnx.numpy_helper.to_array(attribute.t) == 255)
    ]
    divisor.CopyFrom(onnx.numpy_helper.from_array(np.float32(1), divisor.name))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [blue_first, without_255])
def test_wrong_channel_order_and_missing_normalisation_are_refused(
    tmp_path, monkeypatch, light, damage
):
    broken = onnx.load(light.model)
    damage(broken.graph)
    onnx.checker.check_model(broken)
    monkeypatch.setattr(
        export, "write_onnx", lambda model, path, size: onnx.save(broken, str(path))
    )
    with pytest.raises(ValueError, match="export refused: ONNX Runtime differs from torch"):
        export.export_checkpoint(
            light.checkpoint, tmp_path / "m.onnx", (128, 64), light.temperature
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (100, 64)}, "multiples of 32"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"output": "m.pb"}, r"must end in \.onnx"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    checkpoint = write_checkpoint(tmp_path)
    output = tmp_path / arguments.pop("output", "m.onnx")
    with pytest.raises(ValueError, match=message):
        export.export_checkpoint(checkpoint, output, **arguments)


def test_what_the_card_is_to_say_reaches_it(monkeypatch, capsys):
    def stop(*given):
        raise ValueError(repr(given[2:]))

    monkeypatch.setattr(export, "export_checkpoint", stop)
    words = ["--size", "96x64", "--temperature", "2", "--name", "n", "--licence", "MIT"]
    assert main(["export", "a.pt", "-o", "a.onnx", *words, "--training-data", "t"]) == 1
    assert "((96, 64), 2.0, None, 'n', 'MIT', 't')" in capsys.readouterr().err


def test_size_text():
    assert parse_size("576x320") == (576, 320)
    with pytest.raises(ValueError, match="must be WIDTHxHEIGHT"):
        parse_size("576*320")


def test_the_temperature_of_a_known_overconfidence_is_found():
    rng = np.random.default_rng(0)
    b = np.exp(rng.uniform(-4, -0.5, 200_000))
    error = rng.exponential(b)  # |Laplace| of scale b
    fit = fit_to_errors(error, b / 2)  # the network states half of it
    assert fit.temperature == pytest.approx(2, rel=0.03)
    assert fit.ece < 0.01 < fit.ece_before
    assert json.loads(json.dumps(fit.as_dict()))["pixels"] == 200_000


def test_calibrating_on_training_worlds_is_recorded_and_warned_of(tmp_path, caplog):
    train = write_fake_drives(tmp_path / "train", drives=2, frames=1, seed=1)
    val = write_fake_drives(tmp_path / "val", drives=1, frames=1, seed=2)
    other = write_fake_drives(tmp_path / "other", drives=1, frames=1, seed=3)
    data = DataOptions(drives=str(train), val_drives=str(val))
    assert _other_uses(find_training_drives(other), data) == []
    assert _other_uses(find_training_drives(val), data) == ["validation"]
    alone = dataclasses.replace(data, val_drives=None)  # a recipe without validation
    assert _other_uses(find_training_drives(val), alone) == []
    assert caplog.text == ""
    copied = shutil.copytree(train / "drive_000001", tmp_path / "copied")  # the same world
    assert _other_uses(find_training_drives(copied), data) == ["training"]
    assert "calibrated on worlds that the student was trained on" in caplog.text
