import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from rosam_core import export
from rosam_core.calibrate import fit_to_errors
from rosam_core.checkpoint import rng_state, save_checkpoint
from rosam_core.commands.export import parse_size
from rosam_core.config import to_yaml
from rosam_core.models import create_model
from rosam_core.recipe import DataOptions, ModelOptions, Recipe
from rosam_core.types import ModelCard, file_sha256

pytestmark = pytest.mark.torch


def write_checkpoint(folder, name="light"):
    torch.manual_seed(0)
    model = create_model(name)
    for module in model.modules():  # statistics as after some training, not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    state = {
        "model": model.state_dict(),
        "ema": model.state_dict(),
        "rng": rng_state(),
        "step": 12,
        "commit": "abc",
        "focal_range": [60.0, 120.0],
        "validation": {"all": {"abs_rel": 0.5}},
        "recipe": to_yaml(
            Recipe(
                model=ModelOptions(name=name),
                data=DataOptions(width=96, height=64, canonical_focal_px=80.0),
            )
        ),
    }
    save_checkpoint(folder / "last.pt", state)
    return folder / "last.pt"


@pytest.mark.parametrize("name", ["light", "resnet18"])
def test_the_file_keeps_the_contract(tmp_path, name):
    checkpoint = write_checkpoint(tmp_path, name)
    card = export.export_checkpoint(
        checkpoint, tmp_path / "m.onnx", size=(128, 64), temperature=1.5, results={"x": 1}
    )
    model = onnx.load(tmp_path / "m.onnx")
    assert {o.domain: o.version for o in model.opset_import}[""] == 18
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "m.json", "m.onnx"]
    assert ModelCard.load(tmp_path / "m.json") == card
    assert card.sha256 == file_sha256(tmp_path / "m.onnx")
    assert (card.input_width, card.input_height, card.training_focal_px) == (128, 64, 80.0)
    assert card.focal_range_px == (60.0, 120.0)
    assert card.results["export"]["depth_error"] <= 1e-3
    assert card.results["x"] == 1
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (port,) = session.get_inputs()
    assert (port.name, port.type, port.shape[1:]) == ("image", "tensor(uint8)", [64, 128, 3])
    assert isinstance(port.shape[0], str)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 128, 3), np.uint8)
    depth, confidence = session.run(["depth", "confidence"], {"image": images})
    assert depth.shape == confidence.shape == (5, 1, 64, 128)
    one, _ = session.run(["depth", "confidence"], {"image": images[3:4]})
    np.testing.assert_allclose(one[0], depth[3], rtol=1e-4)


def test_confidence_is_the_laplace_probability_of_25_percent_with_the_temperature():
    class Constant(torch.nn.Module):
        def forward(self, images):
            ones = torch.ones(images.shape[0], 1, *images.shape[-2:])
            return {"inverse_depth": ones / 20, "log_b": ones * math.log(0.2)}

    image = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    depth, confidence = export.DeployedStudent(Constant(), 2.0)(image)
    assert depth.unique().item() == pytest.approx(20)
    assert confidence.unique().item() == pytest.approx(1 - math.exp(-math.log(1.25) / 0.4))


def test_a_model_that_differs_is_refused_and_leaves_no_file(tmp_path, monkeypatch):
    checkpoint = write_checkpoint(tmp_path)
    honest = export.write_onnx

    def other_weights(model, path, size):
        with torch.no_grad():
            model.student.decoder.head.bias += 0.01  # 1 % deeper
        honest(model, path, size)
        with torch.no_grad():
            model.student.decoder.head.bias -= 0.01

    monkeypatch.setattr(export, "write_onnx", other_weights)
    with pytest.raises(ValueError, match="export refused: ONNX Runtime differs from torch"):
        export.export_checkpoint(checkpoint, tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (100, 64)}, "multiples of 32"),
        ({"temperature": 0.0}, "temperature must be in"),
        ({"output": "m.pb"}, r"must end in \.onnx"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    checkpoint = write_checkpoint(tmp_path)
    output = tmp_path / arguments.pop("output", "m.onnx")
    with pytest.raises(ValueError, match=message):
        export.export_checkpoint(checkpoint, output, **arguments)


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
