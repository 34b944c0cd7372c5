from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

from conv_model import HEIGHT, WIDTH, write_conv_model

from rosam_core import quantize as module
from rosam_core.cli import main
from rosam_core.drives.opening import DriveOptions, open_drives
from rosam_core.drives.places import Place
from rosam_core.engines.registry import load_engine
from rosam_core.quantize import quantize
from rosam_core.quantize_check import (
    Checked,
    difference,
    hold_out,
    read_frames,
    summarise,
)
from rosam_core.types import ModelCard, card_path, file_sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "frames"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        small = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(images / f"{number:03}.png"), cv2.resize(small, (WIDTH, HEIGHT)))
    return images


@pytest.fixture
def places(folder: Path) -> list[Place]:
    (drive,) = open_drives(folder, "frames", (), DriveOptions(fov_deg=60.0))
    return [(drive, index) for index in range(len(drive))]


def test_writes_a_model_and_its_card(tmp_path: Path, places: list[Place]) -> None:
    model, output = write_conv_model(tmp_path), tmp_path / "out" / "small_int8.onnx"
    result = quantize(model, output, places[:5], places[5:], max_loss=0.05, threads=1)
    card = ModelCard.load(card_path(output))
    assert card == result.card
    assert card.sha256 == file_sha256(output)
    assert card.name == "small_int8"
    stated = card.results["quantization"]
    assert stated["precision"] == "int8"
    assert stated["made_from"]["sha256"] == file_sha256(model)
    assert stated["calibration_frames"] == 5
    assert stated["float_layers"] == ["head"] == list(result.float_layers)
    assert 0 < stated["loss"] < 0.05
    assert "day" not in card.results  # measured with the float model, not with this one
    assert sorted(p.name for p in output.parent.iterdir()) == [
        "small_int8.json",
        "small_int8.onnx",
    ]
    image = places[0][0][0].image[None]
    exact, close = (load_engine(path, "onnx-cpu", 1).infer(image)[0] for path in (model, output))
    assert 0 < np.median(np.abs(close - exact) / exact) < 0.02


def test_refuses_and_leaves_nothing(tmp_path: Path, places: list[Place]) -> None:
    model, output = write_conv_model(tmp_path), tmp_path / "out" / "int8.onnx"
    with pytest.raises(ValueError, match=r"refused: depth differs by a median of .* in unknown"):
        quantize(model, output, places[:5], places[5:], max_loss=1e-9, threads=1)
    assert list(output.parent.iterdir()) == []


def test_what_hurts_goes_back_to_float(
    tmp_path: Path, places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter((0.5, 0.5))

    def compare(model: Path, quantized: Path, *rest: object) -> Checked:
        rows = {"day-clear": {"loss": (loss := next(losses)), "depth_difference": 0.0}}
        return Checked(rows, loss, True, "stub")

    monkeypatch.setattr(module, "compare", compare)
    monkeypatch.setattr(module, "rank_layers", lambda *a: ["pointwise", "depthwise"])
    model = write_conv_model(tmp_path)
    # Four layers, the last in float, then one more: half of four leaves no room for two.
    with pytest.raises(ValueError, match=r"refused.*2 of 4 layers are in float already"):
        quantize(model, tmp_path / "a.onnx", places[:4], places[4:], threads=1)
    losses = iter((0.5, 0.01))
    result = quantize(model, tmp_path / "a.onnx", places[:4], places[4:], threads=1)
    assert list(result.float_layers) == ["pointwise", "head"]


def test_ranking_finds_the_layer_that_is_worst(tmp_path: Path, places: list[Place]) -> None:
    model = write_conv_model(tmp_path)
    pictures = read_frames(places, ModelCard.load(card_path(model)))
    network, seen = module.prepare(onnx.load(str(model)), pictures, 1)
    source = {n.name: n.input[0] for n in network.graph.node if n.op_type == "Conv"}
    for worst in ("depthwise", "pointwise"):
        import dataclasses

        spoilt = dict(seen)
        spoilt[source[worst]] = dataclasses.replace(
            seen[source[worst]], scale=seen[source[worst]].scale * 30
        )
        assert (
            module.rank_layers(network, spoilt, ("depthwise", "pointwise"), pictures, 1)[0]
            == worst
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "small.onnx"}, "is the float model itself"),
        ({"output": "a.bin"}, "must end in .onnx"),
        ({"keep_float": ["nose"]}, "has no convolution nose"),
    ],
)
def test_wrong_arguments(tmp_path: Path, places: list[Place], change: dict, message: str) -> None:
    model = write_conv_model(tmp_path)
    output = tmp_path / change.pop("output", "b.onnx")
    with pytest.raises(ValueError, match=message):
        quantize(model, output, places[:4], places[4:], threads=1, **change)


def test_an_8_bit_model_is_not_quantised_again(tmp_path: Path, places: list[Place]) -> None:
    model, output = write_conv_model(tmp_path), tmp_path / "int8.onnx"
    quantize(model, output, places[:4], places[4:], max_loss=0.5, threads=1)
    with pytest.raises(ValueError, match="is 8-bit already"):
        quantize(output, tmp_path / "again.onnx", places[:4], places[4:], threads=1)


def test_losses_by_hand() -> None:
    nan = math.nan
    found = summarise(
        {
            "night": [(0.2, 0.21, 0.01), (0.4, 0.39, 0.03)],
            "fog": [(0.1, 0.11, 0.02), (nan, nan, 0.5)],
            "unknown": [(nan, nan, 0.9)],
        },
        "onnx-cpu",
    )
    assert found.has_truth
    assert found.loss == pytest.approx(0.1)  # fog: .1 -> .11; night: .3 -> .3
    assert found.conditions["night"]["loss"] == pytest.approx(0.0)
    assert found.conditions["night"]["depth_difference"] == pytest.approx(0.02)
    assert found.conditions["fog"]["frames_with_truth"] == 1
    assert "AbsRel grows by 10.0% in" in found.words()
    blind = summarise({"fog": [(nan, nan, 0.02)], "night": [(nan, nan, 0.04)]}, "onnx-cpu")
    assert not blind.has_truth
    assert blind.loss == pytest.approx(0.04)
    assert json.dumps(blind.as_dict(), allow_nan=False)


def test_difference_by_hand() -> None:
    depth = np.array([[2.0, 4.0, 10.0, np.inf, np.nan]], np.float32)
    other = np.array([[2.2, 4.0, 12.0, np.inf, np.nan]], np.float32)
    assert difference(depth, other) == pytest.approx(0.1)
    lost = np.array([[np.nan, np.nan, 10.0, np.inf, np.nan]], np.float32)
    assert difference(depth, lost) == 1.0
    assert difference(depth[:, 3:], other[:, 3:]) == 0.0


class Recordings:
    """Frames of these (scene, condition), in this order."""

    def __init__(self, *frames: tuple[str, str]) -> None:
        self.frames = frames

    def scene(self, index: int) -> str:
        return self.frames[index][0]

    def glance(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(condition=self.frames[index][1])


@pytest.mark.parametrize(
    "frames",
    [
        # As the drives of `rosam synth` list them: condition by condition.
        [(s, c) for s in "ab" for c in ("day-clear", "night") for _ in range(3)],
        # The scene that is held out is of the day.
        [(s, "day-clear") for s in "abcde" for _ in range(2)] + [("f", "night")] * 4,
        [(s, c) for s in "ab" for c in ("day-clear", "night")],  # of each but one
    ],
)
def test_every_condition_is_checked_that_can_be(frames: list[tuple[str, str]]) -> None:
    drive: Any = Recordings(*frames)
    own, held = hold_out([(drive, index) for index in range(len(frames))])
    assert sorted(i for _, i in own + held) == list(range(len(frames)))
    assert own
    shown = {drive.glance(i).condition for _, i in held}
    several = len(frames) > 4
    assert shown == ({"day-clear", "night"} if several else {"night"})


def test_held_out_frames_are_others(places: list[Place]) -> None:
    own, held = hold_out(places)
    assert [i for _, i in own] == [0, 1, 2, 3, 4, 5]
    assert [i for _, i in held] == [6, 7]
    with pytest.raises(ValueError, match="only 3 frames"):
        hold_out(places[:3])


def test_command(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, output = write_conv_model(tmp_path), tmp_path / "small_int8.onnx"
    words = ["quantize", str(model), "-o", str(output), "--calibrate", str(folder)]
    words += ["--fov", "60", "--threads", "1", "--max-loss", "10"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "3 of 4 layers in int8" in printed
    assert "held-out quarter of frames" in printed
    assert "in float32: head" in printed
    assert main([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["calibration_frames"] == 6
    assert made["max_loss"] == pytest.approx(0.1)
    assert main([*words, "--check", str(folder)]) == 1
    assert "are the same drives" in capsys.readouterr().err
    assert main([*words, "--frames", "0"]) == 1
