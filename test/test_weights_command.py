"""Published checkpoints become students that compute the same."""

from __future__ import annotations

import json
import re

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from rosam_core.checkpoint import load_checkpoint
from rosam_core.cli import main
from rosam_core.models import create_model
from rosam_core.models.resnet18 import ResNet18Student

pytestmark = pytest.mark.torch

W, H = 96, 64


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Random weights under the published names, in the published files."""
    torch.manual_seed(3)
    network = ResNet18Student()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    encoder = {f"encoder.{k}": v for k, v in network.encoder.state_dict().items()}
    encoder |= {"encoder.fc.weight": torch.zeros(1000, 512), "encoder.fc.bias": torch.zeros(1000)}
    decoder = {}
    for level in range(4, -1, -1):
        for side, place in (("before", 0), ("after", 1)):
            conv = getattr(network.decoder, side)[level].conv
            number = 2 * (4 - level) + place
            decoder[f"decoder.{number}.conv.conv.weight"] = conv.weight.detach().clone()
            decoder[f"decoder.{number}.conv.conv.bias"] = conv.bias.detach().clone()
    for scale, channels in enumerate((16, 32, 64, 128)):
        decoder[f"decoder.{10 + scale}.conv.weight"] = torch.randn(1, channels, 3, 3) * 0.5
        decoder[f"decoder.{10 + scale}.conv.bias"] = torch.randn(1) - 3
    folder = tmp_path_factory.mktemp("published")
    torch.save({**encoder, "height": H, "width": W, "use_stereo": False}, folder / "encoder.pth")
    torch.save(decoder, folder / "depth.pth")
    whole = {f"depth_model.encoder.{k}": v for k, v in encoder.items()}
    whole |= {f"depth_model.decoder.{k}": v for k, v in decoder.items()}
    whole["pose_model.encoder.encoder.conv1.weight"] = torch.zeros(1)
    torch.save({"state_dict": whole, "epoch": 3}, folder / "md4all.ckpt")
    return folder, encoder, decoder


def norm(x, state, name):
    """Batch norm with what was gathered in training, eps 1e-5."""
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (state[f"{name}.{x}"].reshape(1, -1, 1, 1) for x in names)
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def resnet18(x, state):
    """Features at 1/2 to 1/32: He et al., CVPR 2016, table 1 and figure 5 left, convolution by
    convolution; where the size changes a block's first convolution strides, as does its 1x1 skip.
    """

    def conv(x, name, stride, padding):
        return functional.conv2d(x, state[f"{name}.weight"], None, stride, padding)

    features = [norm(conv(x, "encoder.conv1", 2, 3), state, "encoder.bn1").clamp(min=0)]
    x = functional.max_pool2d(features[0], 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"encoder.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(conv(x, f"{name}.conv1", stride, 1), state, f"{name}.bn1").clamp(min=0)
            y = norm(conv(y, f"{name}.conv2", 1, 1), state, f"{name}.bn2")
            if stride == 2:
                x = conv(x, f"{name}.downsample.0", 2, 0)
                x = norm(x, state, f"{name}.downsample.1")
            x = (x + y).clamp(min=0)
        features.append(x)
    return features


def described(encoder, decoder, images, near, far, mean, std):
    """The published network as its papers describe it, one function at a time."""
    features = resnet18((images - mean) / std, encoder)

    def conv(x, name):
        weight, bias = decoder[f"{name}.weight"], decoder[f"{name}.bias"]
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), weight, bias)

    x = features[-1]
    for number, level in enumerate(range(4, -1, -1)):
        x = functional.elu(conv(x, f"decoder.{2 * number}.conv.conv"))
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if level:
            x = torch.cat([x, features[level - 1]], 1)
        x = functional.elu(conv(x, f"decoder.{2 * number + 1}.conv.conv"))
    disparity = torch.sigmoid(conv(x, "decoder.10.conv"))
    return 1 / far + (1 / near - 1 / far) * disparity


def imported(out, *arguments):
    assert main(["weights", "import", "-o", str(out), "--focal", "60", *map(str, arguments)]) == 0
    student = create_model("monodepth2")
    student.load_state_dict(load_checkpoint(out)["ema"])
    return student.eval()


def test_it_computes_what_the_published_network_computes(published, tmp_path, capsys):
    folder, encoder, decoder = published
    files = ("--encoder", folder / "encoder.pth", "--decoder", folder / "depth.pth")
    student = imported(tmp_path / "a.pt", *files, "--near", 0.5, "--far", 80)
    assert f"{W}x{H}" in capsys.readouterr().out
    images = torch.rand(2, 3, H, W)
    with torch.no_grad():
        expected = described(encoder, decoder, images, 0.5, 80.0, 0.45, 0.225)
        found = student(images)
    torch.testing.assert_close(found["inverse_depth"], expected, rtol=1e-5, atol=1e-7)
    assert expected.std() > 0.05 * expected.mean()  # the weights do matter
    torch.testing.assert_close(found["log_b"].exp(), torch.full_like(expected, 0.3))


def test_one_file_other_normalisation_and_a_factor(published, tmp_path):
    folder, encoder, decoder = published
    more = ("--mean", 0.5, "--std", 0.3, "--scale", 5.4, "--size", f"{W}x{H}")
    student = imported(tmp_path / "a.pt", "--checkpoint", folder / "md4all.ckpt", *more)
    images = torch.rand(1, 3, H, W)
    with torch.no_grad():
        expected = described(encoder, decoder, images, 0.1, 100.0, 0.5, 0.3) / 5.4
        found = student(images)["inverse_depth"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_it_exports_and_the_card_says_what_it_is(published, tmp_path):
    pytest.importorskip("onnxscript")
    folder, _, _ = published
    arguments = ("--checkpoint", folder / "md4all.ckpt", "--size", f"{W}x{H}", "--relative")
    imported(tmp_path / "a.pt", *arguments)
    assert main(["export", str(tmp_path / "a.pt"), "-o", str(tmp_path / "a.onnx")]) == 0
    card = json.loads((tmp_path / "a.json").read_text())
    assert card["architecture"] == "monodepth2"
    assert card["training_focal_px"] == 60.0
    assert card["is_metric"] is False
    assert card["licence"] == "NOASSERTION"
    whose = "what its authors trained it on: imported from"
    assert card["training_data"] == f"{whose} {folder.name}/md4all.ckpt"
    imported(tmp_path / "b.pt", *arguments, "--licence", "CC-BY-NC-SA-4.0")
    assert main(["export", str(tmp_path / "b.pt"), "-o", str(tmp_path / "b.onnx")]) == 0
    assert json.loads((tmp_path / "b.json").read_text())["licence"] == "CC-BY-NC-SA-4.0"
    assert (card["input_width"], card["input_height"]) == (W, H)


def test_it_is_a_student_that_can_be_trained(published, tmp_path):
    folder, _, _ = published
    student = imported(tmp_path / "a.pt", "--checkpoint", folder / "md4all.ckpt").train()
    scales = student(torch.rand(1, 3, H, W))["scales"]
    assert len(scales) == 4
    sum((d + b).square().mean() for d, b in scales).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in student.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, d: d.pop("decoder.0.conv.conv.weight"), "1 parameters are missing"),
        (lambda e, d: e.update({"encoder.layer9.weight": torch.zeros(1)}), "no parameter encoder"),
        (lambda e, d: d.update({"upconv.weight": torch.zeros(1)}), "no parameter of a Monodepth2"),
        (
            lambda e, d: d.update({"decoder.10.conv.weight": torch.zeros(2, 16, 3, 3)}),
            "not of a network of 1 output",
        ),
        (
            lambda e, d: e.update({"encoder.conv1.weight": torch.zeros(64, 6, 7, 7)}),
            r"is \(64, 6, 7, 7\), expected \(64, 3, 7, 7\)",
        ),
    ],
)
def test_weights_of_another_network_are_refused(published, tmp_path, capsys, change, message):
    _, encoder, decoder = published
    encoder, decoder = dict(encoder), dict(decoder)
    change(encoder, decoder)
    torch.save(encoder, tmp_path / "e.pth")
    torch.save(decoder, tmp_path / "d.pth")
    command = ["weights", "import", "--encoder", str(tmp_path / "e.pth")]
    command += [
        "--decoder",
        str(tmp_path / "d.pth"),
        "--focal",
        "60",
        "-o",
        str(tmp_path / "o.pt"),
    ]
    assert main(command) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "o.pt").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no checkpoint at"),
        (b"\x80\x02half", "is damaged, or holds more than tensors"),
        ({}, "holds no state dictionary"),
        ({"a.b": 1}, "has no depth network: expected names such as"),
    ],
)
def test_unreadable_files_are_named(tmp_path, capsys, content, message):
    path = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    command = ["weights", "import", "--checkpoint", str(path), "--focal", "60", "-o", "o.pt"]
    assert main(command) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--encoder", "e.pth"],
        ["--checkpoint", "c.pt", "--encoder", "e.pth"],
        ["--checkpoint", "c.pt", "--scale", "0"],
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["weights", "import", *arguments, "--focal", "60", "-o", "o.pt"])
