"""Segment-Anything through the library's own generator, with a tiny random model."""

import argparse
import builtins
import dataclasses
import json
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
import sam_support
import torch
from region_samples import START_NS, write_synthetic_drive

from rosam_core.cli import main
from rosam_core.commands import masks
from rosam_core.drives.opening import open_drives
from rosam_core.priors.region_map import is_compact, read_map, region_map
from rosam_core.priors.sam import MODELS, MemoryLimitError, SamSettings, SamSource
from rosam_core.types import file_sha256

# A random model rates nothing high; every mask shall pass.
OPEN = SamSettings(
    pred_iou_thresh=0,
    stability_score_thresh=0,
    box_nms_thresh=1,
    crop_nms_thresh=1,
    points_per_side=4,
)


@pytest.fixture(autouse=True)
def _library():
    sam_support.import_segment_anything()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)


def test_defaults_are_those_of_the_library():
    import inspect

    from segment_anything import SamAutomaticMaskGenerator

    theirs = {
        name: parameter.default
        for name, parameter in inspect.signature(SamAutomaticMaskGenerator).parameters.items()
    }
    ours = SamSettings().generator_settings()
    assert ours == {name: theirs[name] for name in ours}
    left = set(theirs) - set(ours)
    assert left == {"model", "points_per_batch", "point_grids", "output_mode"}


@pytest.mark.parametrize("rule", ["largest", "smallest"])
def test_the_map_is_that_of_the_generator_s_masks(image, rule):
    settings = dataclasses.replace(OPEN, overlap_rule=rule)
    regions = SamSource(sam_support.tiny_sam(), settings).regions(image)
    library = sys.modules["segment_anything"]
    generator = library.SamAutomaticMaskGenerator(
        sam_support.tiny_sam(), **OPEN.generator_settings()
    )
    each = [found["segmentation"] for found in generator.generate(image)]
    assert len(each) > 10
    assert np.array_equal(regions, region_map(each, (48, 80), rule))
    assert regions.shape == (48, 80)
    assert regions.max() >= 2
    assert is_compact(regions)


def test_settings_reach_the_generator(image):
    def found(**changes):
        source = SamSource(sam_support.tiny_sam(), dataclasses.replace(OPEN, **changes))
        return source.generator.generate(image)

    everything = found()
    assert len(found(points_per_side=2)) < len(everything)
    assert len(found(box_nms_thresh=0.5)) < len(everything)
    assert found(pred_iou_thresh=1) == []
    assert not SamSource(sam_support.tiny_sam()).regions(image).any()


def test_points_in_a_batch_do_not_change_the_map(image):
    maps = [SamSource(sam_support.tiny_sam(), OPEN, n).regions(image) for n in (1, 3, None)]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    with pytest.raises(ValueError, match="--points-per-batch must be at least 1, got 0"):
        SamSource(sam_support.tiny_sam(), OPEN, 0)


def test_crops_without_any_mask_give_an_empty_map(image):
    settings = SamSettings(points_per_side=2, crop_n_layers=1)  # the library raises IndexError
    assert not SamSource(sam_support.tiny_sam(), settings).regions(image).any()
    model, seen = sam_support.tiny_sam(), []
    model.image_encoder.register_forward_hook(lambda *io: seen.append(io[2].shape))
    SamSource(model, dataclasses.replace(OPEN, crop_n_layers=1)).regions(image)
    assert len(seen) == 1 + 4


def test_half_precision_is_of_the_image_encoder_only(image):
    full, half = sam_support.tiny_sam(), sam_support.tiny_sam()
    seen = []
    half.image_encoder.blocks[0].mlp.register_forward_hook(lambda *io: seen.append(io[2].dtype))
    half.mask_decoder.register_forward_hook(lambda *io: seen.append(io[2][0].dtype))
    source = SamSource(half, dataclasses.replace(OPEN, precision="half"))
    regions = source.regions(image)
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert seen[0] == torch.bfloat16
    assert (regions == SamSource(full, OPEN).regions(image)).mean() > 0.9


@pytest.fixture
def registry(monkeypatch):
    """The library knows the tiny model as `vit_b`."""
    library = sys.modules["segment_anything"]
    monkeypatch.setitem(library.sam_model_registry, "vit_b", sam_support.tiny_sam)


def test_a_checkpoint_is_loaded_and_recorded(tmp_path, registry, image):
    path = tmp_path / "sam.pth"
    model = sam_support.tiny_sam(seed=5)
    torch.save(model.state_dict(), path)
    settings = dataclasses.replace(OPEN, model="vit_b")
    source = SamSource.load(path, settings, "cpu", 7)
    assert np.array_equal(source.regions(image), SamSource(model, OPEN).regions(image))
    assert not np.array_equal(
        source.regions(image), SamSource(sam_support.tiny_sam(), OPEN).regions(image)
    )
    assert source.generator.points_per_batch == 7
    assert source.described() == {
        "source": "sam",
        "settings": dataclasses.asdict(settings),
        "checkpoint_sha256": file_sha256(path),
    }


def test_the_command_makes_maps_with_a_checkpoint(tmp_path, registry, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path, out = tmp_path / "sam.pth", tmp_path / "maps"
    torch.save(sam_support.tiny_sam().state_dict(), path)
    drive = write_synthetic_drive(tmp_path / "town", 2)
    settings = [
        f"{name}={value}"
        for name, value in dataclasses.asdict(OPEN).items()
        if value != getattr(SamSettings(), name)
    ]
    more = ["--source", "sam", "--checkpoint", str(path), "--points-per-batch", "5"]
    words = ["masks", str(drive), "-o", str(out), *more, "model=vit_b", *settings]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "2 maps made" in told.out
    assert "no GPU found, Segment-Anything runs on the CPU" in told.err
    source = SamSource(sam_support.tiny_sam(), OPEN)
    expected = source.regions(open_drives(drive)[0][0].image)
    assert np.array_equal(read_map(out / "town" / "camera" / f"{START_NS}.png"), expected)
    index = json.loads((out / "town" / "regions.json").read_text())
    assert index["checkpoint_sha256"] == file_sha256(path)
    # Points in a batch are no setting: a run may go on with fewer.
    assert main([*words, "--points-per-batch", "3"]) == 0
    assert main(["masks", "verify", str(drive), "-o", str(out)]) == 0
    torch.save(sam_support.tiny_sam(seed=1).state_dict(), path)
    assert main(words) == 1
    assert "holds maps made otherwise (checkpoint_sha256 " in capsys.readouterr().err


def test_each_process_of_torchrun_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    told = {name: masks._device(argparse.Namespace(device=name)) for name in (None, "cuda", "cpu")}
    assert told == {None: "cuda:3", "cuda": "cuda:3", "cpu": "cpu"}
    named = masks._device(argparse.Namespace(device="cuda:1"))
    assert named == "cuda:1"


def test_a_wrong_checkpoint_is_named(tmp_path, registry):
    settings = dataclasses.replace(OPEN, model="vit_b")
    path = tmp_path / "sam.pth"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*sam\.pth"):
        SamSource.load(path, settings)
    for content in (b"", b"no weights", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"sam\.pth is no checkpoint of torch"):
            SamSource.load(path, settings)
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, MODELS["vit_l"])}, path)
    with pytest.raises(ValueError, match=r"sam\.pth holds a vit_l: add model=vit_l"):
        SamSource.load(path, settings)
    for content in ({"a": torch.zeros(1)}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"sam\.pth holds no weights of vit_b: "):
            SamSource.load(path, settings)


def test_a_device_that_is_not_there_is_named(tmp_path, registry):
    path = tmp_path / "sam.pth"
    torch.save(sam_support.tiny_sam().state_dict(), path)
    settings = dataclasses.replace(OPEN, model="vit_b")
    for device in ("cuda:99", "toaster"):
        with pytest.raises(ValueError, match=f"--device {device}: "):
            SamSource.load(path, settings, device)


def test_a_missing_library_says_how_to_get_it(tmp_path, monkeypatch):
    path = tmp_path / "sam.pth"
    path.touch()
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("segment_anything"):
            raise ModuleNotFoundError("No module named 'segment_anything'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    advice = r"No module named .* pip install -c constraints\.txt '\.\[train,sam\]'"
    with pytest.raises(ValueError, match=advice):
        SamSource.load(path, SamSettings())


def test_too_many_points_for_the_memory_are_told(image, monkeypatch):
    source = SamSource(sam_support.tiny_sam(), OPEN)

    def fail(error):
        def generate(_):
            raise error

        monkeypatch.setattr(source.generator, "generate", generate)

    fail(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(MemoryLimitError, match="64 points at once are too many for 80x48"):
        source.regions(image)
    fail(RuntimeError("nonzero is not supported for tensors with more than INT_MAX elements"))
    with pytest.raises(MemoryLimitError, match="use a smaller --points-per-batch"):
        source.regions(image)
    fail(RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        source.regions(image)
