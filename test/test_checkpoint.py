"""Checkpoints on a disk that has no room for them."""

import resource

import pytest

torch = pytest.importorskip("torch")
from rosam_core.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def small_files():
    """No file may have more than 200,000 bytes, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.torch
def test_a_checkpoint_that_does_not_fit_is_an_error_of_the_disk_and_the_old_stays(
    tmp_path, small_files
):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(OSError, match=r"too large: .*last\.pt"):
        save_checkpoint(path, {"step": 2, "weights": torch.zeros(100_000)})
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
