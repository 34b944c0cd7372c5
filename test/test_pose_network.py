import pytest

torch = pytest.importorskip("torch")

from torch import nn

from rosam_core.models.pose import PoseNetwork
from rosam_core.models.resnet18 import ResNet18Encoder

pytestmark = pytest.mark.torch

H, W = 64, 96


def test_pose_network_starts_near_no_motion_and_knows_which_frame_is_which():
    torch.manual_seed(0)
    network = PoseNetwork().eval()
    first, second = torch.rand(2, 1, 3, H, W)
    with torch.no_grad():
        forward = network(first, second)
        others = [network(*pair) for pair in ((second, first), (first, first), (second, second))]
    assert forward.shape == (1, 6)
    assert forward.abs().max() < 0.1
    assert all((forward - other).abs().max() > 1e-7 for other in others)


def test_pose_network_loads_published_encoder_weights(tmp_path):
    encoder = ResNet18Encoder()
    torch.save(encoder.state_dict() | {"fc.weight": torch.zeros(10, 512)}, tmp_path / "r18.pth")
    network = PoseNetwork(tmp_path / "r18.pth")
    weight = network.encoder.conv1.weight
    torch.testing.assert_close(weight[:, :3], encoder.conv1.weight / 2)
    torch.testing.assert_close(weight[:, 3:], encoder.conv1.weight / 2)
    torch.testing.assert_close(
        network.encoder.layer4[1].conv2.weight, encoder.layer4[1].conv2.weight
    )


def test_pose_network_may_look_at_smaller_images():
    torch.manual_seed(0)
    network = PoseNetwork(scale=0.5).eval()
    fine = torch.rand(2, 1, 3, H, W)
    coarse = nn.functional.avg_pool2d(fine.flatten(0, 1), 2).view(2, 1, 3, H // 2, W // 2)
    with torch.no_grad():
        small = network(*fine)
        network.scale = 1.0
        torch.testing.assert_close(small, network(*coarse))
        assert (small - network(*fine)).abs().max() > 1e-6
    with pytest.raises(ValueError, match="scale must be in"):
        PoseNetwork(scale=2.0)
