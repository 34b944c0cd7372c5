"""What every test shares: thread pins, a private ROS graph, real data, and honest skips."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

# Before numpy, torch or rclpy are imported anywhere: several test processes share a few cores,
# and tests must hear neither each other's graph nor the robot's on the same network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import cv2
import pytest

if TYPE_CHECKING:
    from rosam_core.drives.training_samples import DriveIndex

cv2.setNumThreads(1)

REPOSITORY = Path(__file__).resolve().parents[1]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _missing(marker: str) -> str:
    """Returns why tests of this marker cannot run here, or nothing."""
    if marker == "torch" and not _is_installed("torch"):
        return "torch is not installed: pip install -c constraints.txt -e '.[train]'"
    if marker == "ros" and not (_is_installed("rclpy") and _is_installed("sensor_msgs")):
        return "no ROS 2: source one, or pip install -c constraints.txt -e '.[ros]'"
    if marker == "gpu":
        if not _is_installed("torch"):
            return "torch is not installed, so no GPU was looked for"
        import torch

        if not torch.cuda.is_available():
            return "no CUDA GPU"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons: dict[str, str] = {}
    for item in items:
        for marker in ("torch", "ros", "gpu"):
            if item.get_closest_marker(marker) is None:
                continue
            if marker not in reasons:
                reasons[marker] = _missing(marker)
            if reasons[marker]:
                item.add_marker(pytest.mark.skip(reason=reasons[marker]))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings, which are not part of the repository; skips where they are absent."""
    named = os.environ.get("ROSAM_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        where = "ROSAM_TEST_DATA" if named else "../shared/data"
        pytest.skip(f"no real recordings: {where} is not a folder (set ROSAM_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small fake drives of four frames; not to be changed."""
    from training_support import write_fake_drives

    return write_fake_drives(tmp_path_factory.mktemp("drives"), drives=3, frames=4, seed=2)


@pytest.fixture
def drives(root: Path) -> list[DriveIndex]:
    """The index of those."""
    from rosam_core.drives.training_samples import find_training_drives

    return find_training_drives(root)


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """A copy of those, to be changed."""
    return shutil.copytree(root, tmp_path / "copy")
