"""Stage 1 on recorded drives: which frames, which weather, and that it trains."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from support import write_tiny_model
from training_support import small_overrides, write_fake_drives

from rosam_core import assembly
from rosam_core.assembly import training_data, weather_of
from rosam_core.checkpoint import StudentFacts
from rosam_core.cli import main
from rosam_core.commands.drive_translate import _panels
from rosam_core.config import load_config
from rosam_core.drives.clear_samples import ClearSamples
from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.opening import open_drives
from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.engines.registry import load_engine
from rosam_core.methods.syn2real import AdaptationOptions
from rosam_core.methods.translated import TranslatedAdaptation
from rosam_core.recipe import Recipe
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.trainer import train
from rosam_core.types import CONDITIONS

pytestmark = pytest.mark.torch

RECIPE = Path(__file__).resolve().parents[1] / "training/recipes/synthetic_adaptation.yaml"


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Synthetic drives and, of the same pictures, a recorded one: images and a sidecar."""
    folder = tmp_path_factory.mktemp("drives")
    write_fake_drives(folder / "train", drives=1, frames=4, seed=0)
    write_fake_drives(folder / "val", drives=1, frames=2, seed=7)
    recorded = folder / "recorded"
    images = folder / "train/drive_000000/images/day-clear"
    (recorded / "frames").mkdir(parents=True)
    for path in images.iterdir():
        (recorded / "frames" / path.name).write_bytes(path.read_bytes())
    return folder


def recorded_recipe(drives, *overrides):
    fixed = [f"data.drives={drives / 'recorded/frames'}", "data.video.fov_deg=60"]
    return load_config(Recipe, RECIPE, [*small_overrides(drives), *fixed, *overrides])


def clear(drives, weights=None, conditions=("day-clear",), seed=3):
    recorded = RecordedSamples(
        open_drives(drives / "train", conditions=conditions),
        (96, 64),
        neighbours=NeighbourOptions(need="none", min_speed_mps=0.0, min_flow_px=0.0),
        with_depth=False,
        neighbour_looks=False,
        seed=seed,
    )
    return ClearSamples(recorded, weights)


def test_only_clear_days_are_taken_and_every_weather_is_asked_for(drives):
    samples = clear(drives, conditions=("day-clear", "night"))
    assert len(samples) == 4  # not the four of the night
    asked = [CONDITIONS[int(samples[i]["condition"])] for i in range(40)]
    assert set(asked) == {"day-clear", "night", "day-rain", "fog"}
    assert len({int(samples[i]["weather"]) for i in range(40)}) == 40


def test_a_sample_depends_on_seed_and_number_only(drives):
    one, other = clear(drives), clear(drives)
    assert [other[i]["weather"] for i in (9, 2)] == [one[i]["weather"] for i in (9, 2)]
    for name, value in one[5].items():
        np.testing.assert_array_equal(value, other[5][name])
    assert clear(drives, seed=4)[5]["weather"] != one[5]["weather"]


def test_weights_choose_the_weather(drives):
    weights = {"day-clear": 0, "night": 0, "day-rain": 0}
    samples = clear(drives, weights)
    assert {CONDITIONS[int(samples[i]["condition"])] for i in range(8)} == {"fog"}
    for wrong in ({"snow": 1.0}, {"fog": -1.0}, dict.fromkeys(CONDITIONS[:4], 0.0)):
        with pytest.raises(ValueError, match="expected weights >= 0, not all 0, of day-clear"):
            clear(drives, wrong)


def test_a_night_drive_has_nothing_to_put_weather_on(drives):
    with pytest.raises(ValueError, match=r"none of 4 frames is of a clear day, .*: night"):
        clear(drives, conditions=("night",))


def test_only_the_conditions_asked_for_get_weather(drives):
    forced = ["adaptation.weather=translated", "data.video.conditions=night"]
    with pytest.raises(ValueError, match=r"none of \d+ frames is of a clear day, .*: night"):
        training_data(load_config(Recipe, RECIPE, [*small_overrides(drives), *forced]))


def test_a_teacher_without_scale_makes_no_weather(drives, monkeypatch):
    relative = StudentFacts(canonical_focal_px=80.0, is_metric=False, licence="Apache-2.0")
    monkeypatch.setattr(assembly, "student_facts", lambda path: relative)
    forced = ["adaptation.weather=translated", "adaptation.teacher=relative.pt"]
    recipe = load_config(Recipe, RECIPE, [*small_overrides(drives), *forced])
    with pytest.raises(ValueError, match=r"relative\.pt has no scale, .*a teacher in metres"):
        training_data(recipe)


def test_weather_follows_from_the_kind_of_drive(drives):
    assert weather_of(recorded_recipe(drives)) == "translated"
    synthetic = load_config(Recipe, RECIPE, small_overrides(drives))
    assert weather_of(synthetic) == "rendered"
    forced = load_config(
        Recipe, RECIPE, [*small_overrides(drives), "adaptation.weather=translated"]
    )
    assert isinstance(training_data(forced)[0], ClearSamples)
    with pytest.raises(ValueError, match="weather is 'snow', expected auto or rendered"):
        recorded_recipe(drives, "adaptation.weather=snow")
    with pytest.raises(FileNotFoundError, match="holds no synthetic drive"):
        training_data(recorded_recipe(drives, "adaptation.weather=rendered"))


class Flat(torch.nn.Module):
    """Predicts 20 m and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))
        self.shown = None

    def forward(self, images):
        self.shown = images
        inverse = torch.full_like(images[:, :1], 1 / 20) * (1 + self.level)
        scales = [(-torch.log(inverse), torch.zeros_like(inverse))]
        return {"inverse_depth": inverse, "scales": scales}


def test_the_student_sees_the_weather_and_the_teacher_does_not(drives):
    samples = [clear(drives)[i] for i in range(12)]
    batch = {k: torch.from_numpy(np.stack([s[k] for s in samples])) for k in samples[0]}
    batch = {k: v.float() / 255 if v.dtype == torch.uint8 else v for k, v in batch.items()}
    student, teacher = Flat(), Flat()
    method = TranslatedAdaptation(student, teacher, AdaptationOptions(), 80.0)
    terms = method.losses(batch, 0)
    assert torch.equal(teacher.shown, batch["clear"])
    for i, condition in enumerate(batch["condition"].tolist()):
        stays = CONDITIONS[condition] == "day-clear"
        assert torch.equal(student.shown[i], batch["image"][i]) is stays
    assert float(terms["distil_0"].mean().detach()) == 0  # the same depth, in whatever weather
    assert not student.shown.requires_grad


def test_the_recipe_trains_on_a_recorded_drive(drives, tmp_path):
    supervised = RECIPE.with_name("pretrain_synthetic.yaml")
    taught = load_config(Recipe, supervised, [*small_overrides(drives), "train.steps=2"])
    train(taught, tmp_path / "taught")
    teacher = tmp_path / "taught/last.pt"
    overrides = [f"adaptation.teacher={teacher}", f"model.init={teacher}", "train.steps=4"]
    summary = train(recorded_recipe(drives, *overrides), tmp_path / "run")
    assert summary["step"] == 4
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(x["loss"]) for x in lines if x["kind"] == "train")


def test_the_command_draws_every_weather(drives, tmp_path, capsys):
    model, sheet = write_tiny_model(tmp_path / "model"), tmp_path / "out" / "sheet.png"
    asked = ["drive", "translate", str(drives / "train"), "--model", str(model), "--width", "96"]
    assert main([*asked, "-o", str(sheet), "--frames", "2"]) == 0
    assert f"{sheet}: 2 frames" in capsys.readouterr().out
    assert cv2.imread(str(sheet)) is not None
    again = tmp_path / "again.png"
    assert main([*asked, "-o", str(again), "--frames", "2"]) == 0
    assert again.read_bytes() == sheet.read_bytes()
    assert main([*asked, "-o", str(again), "--frames", "2", "--seed", "1"]) == 0
    title_px = 44  # which says the seed
    below = [cv2.imread(str(path))[title_px:] for path in (sheet, again)]
    assert (below[0] != below[1]).any()
    engine = load_engine(model, "onnx-cpu")
    frame, pipeline = open_drives(drives / "train")[0][0], DepthPipeline(engine)
    clear, depth, *adverse = _panels(frame, pipeline, 96, seed=0)
    others = _panels(frame, pipeline, 96, seed=1)[2:]
    engine.close()
    assert len(adverse) == len(others) == 3
    assert len({picture.tobytes() for picture in (clear, depth, *adverse, *others)}) == 8
    assert all(pictures[0].mean() < 0.7 * clear.mean() for pictures in (adverse, others))  # night


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-o", "sheet"], "-o sheet: name a .png or .jpg file"),
        (["-o", "sheet.png", "--frames", "0"], "need --frames 1 or more"),
        (["-o", "sheet.png", "--model", "none.onnx"], "none.onnx"),
    ],
)
def test_the_command_says_what_is_wrong(drives, capsys, more, message):
    assert main(["drive", "translate", str(drives / "train"), *more]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
