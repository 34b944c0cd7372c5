"""Both students: what they return, where it is bounded, and whose weights they accept.

`published_encoders.json` lists every parameter and shape of the published ImageNet networks, as
their own definitions make them (timm 1.0.31, torchvision 0.28.0).
"""

import json
import math
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from rosam_core.models import create_model
from rosam_core.models.common import ImageNormalisation, load_encoder, split_head, student_output
from rosam_core.models.depthwise import DepthwiseConvolution
from rosam_core.models.mobilenetv4 import ConvNorm
from rosam_core.models.pose import PoseNetwork

pytestmark = pytest.mark.torch

PUBLISHED = json.loads(Path(__file__).with_name("published_encoders.json").read_text())
NAMES = {
    "light": "timm 1.0.31 mobilenetv4_conv_small",
    "resnet18": "torchvision 0.28.0 resnet18",
}


def published_state(name):
    """A made-up checkpoint with the published names and shapes."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(shape, generator=generator) if shape else torch.tensor(7)
        for key, shape in PUBLISHED[NAMES[name]].items()
    }


@pytest.fixture(scope="module", params=["light", "resnet18"])
def student(request):
    torch.manual_seed(0)
    return create_model(request.param)


def test_outputs_have_the_size_of_the_input_and_start_plausible(student):
    output = student.eval()(torch.rand(2, 3, 64, 96))
    assert set(output) == {"inverse_depth", "log_b", "features"}
    for map_ in (output["inverse_depth"], output["log_b"]):
        assert map_.shape == (2, 1, 64, 96)
        assert map_.dtype == torch.float32
        assert torch.isfinite(map_).all()
    assert 3 < 1 / output["inverse_depth"].median() < 60
    assert 0.05 < output["log_b"].exp().median() < 1.5


def share_of_bfloat16(values):
    return float((values == values.bfloat16().float()).float().mean())


def test_mixed_precision_does_not_round_what_a_student_answers(student):
    images = torch.rand(2, 3, 64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        output = student.train()(images)
    assert output["features"][0].dtype == torch.bfloat16  # it is mixed indeed
    for log_depth, log_b in output["scales"]:
        assert share_of_bfloat16(log_depth) < 0.05
        assert share_of_bfloat16(log_b) < 0.05


def test_mixed_precision_does_not_round_a_motion():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 64, 96)
    network = PoseNetwork()
    with torch.autocast("cpu", torch.bfloat16):
        raw = network.head(network.encoder(torch.cat([images, images], 1))[-1])
    assert raw.dtype == torch.float32
    assert share_of_bfloat16(raw) < 0.05


def test_training_adds_coarser_scales_and_evaluation_has_none(student):
    images = torch.rand(2, 3, 64, 96)
    output = student.train()(images)
    expected = {"LightStudent": [1, 8], "ResNet18Student": [1, 2, 4, 8]}[type(student).__name__]
    assert [96 // log_depth.shape[-1] for log_depth, _ in output["scales"]] == expected
    for log_depth, log_b in output["scales"]:
        assert log_depth.shape == log_b.shape
        assert log_depth.shape[1] == 1
    finest = output["scales"][0][0]
    assert torch.equal(torch.exp(-finest), output["inverse_depth"])
    assert "scales" not in student.eval()(images)


def test_every_parameter_learns(student):
    student.train().zero_grad()
    scales = student(torch.rand(2, 3, 64, 96))["scales"]
    sum((log_depth + log_b).square().mean() for log_depth, log_b in scales).backward()
    without = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    student.zero_grad()


def test_features_of_the_decoder_come_at_three_scales(student):
    for network in (student.train(), student.eval()):
        features = network(torch.rand(2, 3, 64, 96))["features"]
        assert [tuple(f.shape[-2:]) for f in features] == [(32, 48), (16, 24), (8, 12)]
        assert all(f.requires_grad for f in features)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (5, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_depthwise_convolution_trains_as_torch_computes_it(kernel, stride, layout):
    torch.manual_seed(0)
    block = ConvNorm(6, 6, kernel, stride=stride, groups=6).train().to(memory_format=layout)
    x, y = (torch.empty(2, 6, 9, 12).to(memory_format=layout).requires_grad_() for _ in range(2))
    x.data.normal_()
    y.data.copy_(x.data)
    ours, its = block(x), block.act(block.bn(block.conv(y)))
    torch.testing.assert_close(ours, its)
    ours.square().sum().backward()
    gradient = block.conv.weight.grad.clone()
    block.zero_grad()
    its.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(gradient, block.conv.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "height"), [(3, 1, 5), (3, 2, 6), (5, 2, 7)])
def test_gradients_of_the_depthwise_convolution(kernel, stride, height):
    torch.manual_seed(0)
    x = torch.randn(2, 3, height, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    convolve = DepthwiseConvolution.apply
    assert torch.autograd.gradcheck(lambda a, b: convolve(a, b, stride, kernel // 2), (x, weight))


def test_depthwise_gradients_under_autocast_keep_the_weights_precision():
    torch.manual_seed(0)
    block = ConvNorm(8, 8, 5, groups=8).train()
    x, seed = torch.randn(2, 8, 12, 12), torch.randn(2, 8, 12, 12)
    (block.act(block.bn(block.conv(x))) * seed).sum().backward()
    expected = block.conv.weight.grad.clone()
    block.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    (y * seed).sum().backward()
    assert y.dtype == torch.bfloat16
    assert block.conv.weight.grad.dtype == torch.float32
    assert (block.conv.weight.grad - expected).norm() < 0.03 * expected.norm()


def test_one_image_does_not_see_the_others_of_its_batch(student):
    student.eval()
    images = torch.rand(3, 3, 64, 64)
    alone = student(images[1:2])["inverse_depth"]
    torch.testing.assert_close(student(images)["inverse_depth"][1:2], alone, rtol=1e-4, atol=1e-6)


def test_light_student_is_small_and_the_sizes_are_known():
    counts = {n: sum(p.numel() for p in create_model(n).parameters()) for n in NAMES}
    assert counts["light"] < 5e6  # 20 MB of float32
    encoder = sum(
        math.prod(shape)
        for key, shape in PUBLISHED[NAMES["resnet18"]].items()
        if not key.startswith("fc.") and "running" not in key and "batches" not in key
    )
    assert encoder == 11_176_512  # ResNet-18's 11 689 512 without its 512 x 1000 + 1000
    assert counts["resnet18"] > encoder


def test_head_by_hand_and_bounded():
    raw = torch.tensor([[math.log(20.0), 100.0, -100.0], [math.log(0.25), 50.0, -50.0]])
    log_depth, log_b = split_head(raw[None, :, None, :])
    assert torch.exp(log_depth).flatten().tolist() == pytest.approx([20, 2000, 0.1])
    assert torch.exp(log_b).flatten().tolist() == pytest.approx([0.25, 2.0, 0.01])


def test_inverse_depth_of_a_head_by_hand():
    raw = torch.tensor([math.log(8.0), math.log(0.5)]).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    output = student_output([raw], [], (8, 12), training=False)
    assert output["inverse_depth"].shape == (1, 1, 8, 12)
    assert output["inverse_depth"].unique().item() == pytest.approx(0.125)
    assert output["log_b"].exp().unique().item() == pytest.approx(0.5)


def test_normalisation_by_hand():
    grey = ImageNormalisation()(torch.full((1, 3, 1, 1), 0.5)).flatten().tolist()
    assert grey == pytest.approx([0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225], abs=1e-6)
    assert not ImageNormalisation().state_dict()  # constants, not weights


def test_degenerate_pictures_give_finite_depth(student):
    pictures = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    output = student.eval()(pictures)
    assert all(torch.isfinite(output[name]).all() for name in ("inverse_depth", "log_b"))


@pytest.mark.parametrize("name", ["light", "resnet18"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_imagenet_weights_load_by_path(tmp_path, name, wrapped):
    state = published_state(name)
    path = tmp_path / "imagenet.pth"
    torch.save({"state_dict": state} if wrapped else state, path)
    encoder = create_model(name, encoder_checkpoint=path).encoder.state_dict()
    assert all(torch.equal(state[key], value) for key, value in encoder.items())
    left = {key.rpartition(".")[0] for key in set(state) - set(encoder)}
    head = {"blocks.4.0.conv", "blocks.4.0.bn1", "conv_head", "norm_head", "classifier"}
    assert left == ({"fc"} if name == "resnet18" else head)


def mobilenetv4_conv_small(x, state):
    """Features at 1/2 to 1/32 as timm 1.0.31 computes them, one function at a time.

    Every stage strides in its first block; a bottleneck in its last depthwise convolution. It
    activates after the expansion and the second depthwise convolution only.
    """

    def layer(x, conv, norm, stride=1, activated=True):
        weight = state[f"{conv}.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, scale, shift = (state[f"{norm}.{n}"].reshape(1, -1, 1, 1) for n in names)
        x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
        return x.clamp(min=0) if activated else x

    features = [layer(x, "conv_stem", "bn1", 2)]
    for stage, blocks in enumerate((2, 2, 6, 6)):
        x = features[-1]
        for block in range(blocks):
            name, stride, before = f"blocks.{stage}.{block}", 1 if block else 2, x
            if stage < 2:
                x = layer(x, f"{name}.conv", f"{name}.bn1", stride)
                continue
            for part in ("dw_start", "pw_exp", "dw_mid", "pw_proj"):
                if f"{name}.{part}.conv.weight" in state:
                    step = stride if part == "dw_mid" else 1
                    activated = part in ("pw_exp", "dw_mid")
                    conv, norm = f"{name}.{part}.conv", f"{name}.{part}.bn"
                    x = layer(x, conv, norm, step, activated)
            if block:
                x = x + before
        features.append(x)
    return features


def test_the_light_encoder_computes_what_the_published_network_computes():
    torch.manual_seed(4)
    encoder = create_model("light").encoder.eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_mean, module.bias.data):
                values.normal_(0, 0.2)
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 2)
    picture = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = mobilenetv4_conv_small(picture, encoder.state_dict())
        found = encoder(picture)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours / theirs.std(), theirs / theirs.std(), rtol=0, atol=1e-4)


def test_files_older_than_num_batches_tracked_load(tmp_path):
    state = published_state("resnet18")
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    encoder = create_model("resnet18", encoder_checkpoint=tmp_path / "old.pth").encoder
    own = encoder.state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items() if key in own)


def test_safetensors_load(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = published_state("light")
    safetensors.save_file(state, tmp_path / "model.safetensors")
    encoder = create_model("light", encoder_checkpoint=tmp_path / "model.safetensors").encoder
    assert torch.equal(encoder.conv_stem.weight, state["conv_stem.weight"])


def _renamed(state):
    state["stem.weight"] = state.pop("conv_stem.weight")


def _reshaped(state):
    state["conv_stem.weight"] = torch.zeros(24, 3, 3, 3)


def _of_another_network(state):
    state.clear()
    state.update(published_state("resnet18"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_renamed, "missing ['conv_stem.weight'], unknown ['stem.weight']"),
        (_reshaped, "other shape ['conv_stem.weight'] (0, 0 and 1 in all)"),
        (_of_another_network, "does not fit MobileNetV4ConvSmall: missing ['blocks.0.0.bn1"),
        (lambda state: state.update(epoch=3), "holds no state dictionary"),
    ],
)
def test_wrong_weights_are_refused_by_name(tmp_path, change, message):
    state = published_state("light")
    change(state)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=re.escape(message)):
        create_model("light", encoder_checkpoint=tmp_path / "wrong.pth")


def test_a_refused_file_leaves_the_encoder_as_it_was(tmp_path):
    encoder = create_model("light").encoder
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    state = published_state("light")
    _reshaped(state)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match="other shape"):
        load_encoder(encoder, tmp_path / "wrong.pth", ("blocks.4.",))
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_absent_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no encoder checkpoint at"):
        create_model("light", encoder_checkpoint=tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match=r"text\.pth is not a readable checkpoint"):
        create_model("light", encoder_checkpoint=tmp_path / "text.pth")
    torch.save(published_state("light"), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.pth is not a readable checkpoint"):
        create_model("light", encoder_checkpoint=tmp_path / "cut.pth")


def test_unknown_model_names_the_closest():
    with pytest.raises(ValueError, match=r"no model named 'lite' \(did you mean 'light'\?\)"):
        create_model("lite")


def test_the_light_head_gives_each_pixel_its_own_depth():
    student = create_model("light").eval()
    head = student.decoder.head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([2.0, -1.0, 0.1, 0.2, 0.3, 0.4]))
        output = student(torch.rand(1, 3, 32, 64))
    own = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).repeat(16, 32)
    torch.testing.assert_close(-output["inverse_depth"].log()[0, 0], 2.0 + own)
    torch.testing.assert_close(output["log_b"], torch.full_like(output["log_b"], -1.0))
