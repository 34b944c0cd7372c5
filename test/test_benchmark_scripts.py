"""Benchmarks of engines and of the ground truth do what their figures are said to be of."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import ground_truth

from rosam_core.drives.base import Drive, Glance
from rosam_core.types import Camera, Frame

CAMERA = Camera(64, 64, 31.5, 23.5, 64, 48)


class Ten(Drive):
    """Ten frames with one lidar point each."""

    name = "ten"

    def __init__(self):
        self.read = []

    def __len__(self):
        return 10

    def glance(self, index):
        return Glance(index, CAMERA, has_lidar=True)

    def __getitem__(self, index):
        self.read.append(index)
        image = np.zeros((48, 64, 3), np.uint8)
        return Frame(image, CAMERA, index, lidar=np.float32([[0, 0, 10]]))


@pytest.mark.parametrize(
    ("limit", "read"), [(6, [0, 1, 3, 5, 6, 8]), (10, [*range(10)]), (99, [*range(10)])]
)
def test_no_more_frames_than_asked_for_spread_evenly(monkeypatch, tmp_path, limit, read):
    drive = Ten()
    monkeypatch.setattr(ground_truth, "open_drives", lambda path: [drive])
    assert ground_truth.measure(tmp_path, limit, None)["frames"] == len(read)
    assert drive.read == read


def test_torch_answers_what_the_engines_answer():
    torch = pytest.importorskip("torch", reason="torch is not installed: extra `train`")
    pytest.importorskip("onnx", reason="onnx measures the network: extra dev")
    import gpu_engines

    class Doubled(torch.nn.Module):
        def forward(self, image):
            depth = image[..., :1].permute(0, 3, 1, 2).half()
            return 2 * depth, depth / 256

    images = torch.arange(2 * 4 * 6 * 3, dtype=torch.uint8).reshape(2, 4, 6, 3)
    ways = gpu_engines.ways(Doubled(), Path("none.onnx"), images, torch.device("cpu"))
    depth, confidence = ways["torch eager, half"]()
    assert depth.shape == confidence.shape == (2, 1, 4, 6)
    assert depth.dtype == confidence.dtype == torch.float32
    torch.testing.assert_close(confidence, depth / 512)
