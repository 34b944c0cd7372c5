"""What a recipe asks for is done or refused: focal lengths, conditions, regions, licences."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import numpy as np
from training_support import small_overrides, write_train_and_val

from rosam_core.assembly import training_data
from rosam_core.checkpoint import load_checkpoint, save_checkpoint, student_facts
from rosam_core.config import load_config
from rosam_core.drives.base import Drive
from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.drives.synthetic.drive import SyntheticDrive
from rosam_core.export import load_student
from rosam_core.recipe import Recipe, VideoOptions
from rosam_core.trainer import Trainer, train
from rosam_core.types import Camera, Frame

pytestmark = pytest.mark.torch

RECIPES = Path(__file__).resolve().parents[1] / "training/recipes"


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    return write_train_and_val(tmp_path_factory.mktemp("drives"), drives=1)


@pytest.fixture(scope="module")
def taught(drives, tmp_path_factory):
    """A checkpoint of one step."""
    out = tmp_path_factory.mktemp("taught") / "run"
    train(recipe_of("pretrain_synthetic", drives, "train.steps=1"), out)
    return out / "last.pt"


def recipe_of(name, drives, *overrides):
    return load_config(Recipe, RECIPES / f"{name}.yaml", [*small_overrides(drives), *overrides])


def baseline(drives, teacher, *overrides):
    given = ["method=real_adaptation", f"adaptation.teacher={teacher}", "train.steps=1"]
    return recipe_of("rosam_depth", drives, *given, *overrides)


def test_a_teacher_of_another_focal_length_is_refused(drives, taught, tmp_path):
    assert student_facts(taught).canonical_focal_px == 80
    message = r"metres for a focal length of 80 px, .* for 100: set data\.canonical_focal_px=80"
    with pytest.raises(ValueError, match=message):
        train(baseline(drives, taught, "data.canonical_focal_px=100"), tmp_path / "run")


def test_a_start_from_another_focal_length_is_warned_of(drives, taught, tmp_path, caplog):
    for focal, warns in ((80, False), (100, True)):
        caplog.clear()
        given = [f"model.init={taught}", f"data.canonical_focal_px={focal}", "train.steps=1"]
        Trainer(recipe_of("pretrain_synthetic", drives, *given), tmp_path / str(focal), False)
        assert ("begin with 0.80 times the depth" in caplog.text) == warns


def test_augmentation_that_a_method_does_not_read_is_told(drives, taught, caplog):
    training_data(recipe_of("pretrain_synthetic", drives, "augmentation.flip=0"))
    training_data(baseline(drives, taught))
    assert "augmentation" not in caplog.text
    training_data(baseline(drives, taught, "augmentation.flip=0", "augmentation.blur=0"))
    told = "real_adaptation does not read augmentation.{flip}: data.video.view says which part"
    assert told in caplog.text
    caplog.clear()
    given = ["augmentation.flip=0", "augmentation.paste=1", f"adaptation.teacher={taught}"]
    training_data(recipe_of("synthetic_adaptation", drives, *given))
    assert "synthetic_adaptation does not read augmentation.{paste}" in caplog.text


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "half"])
def test_log_depth_in_16_bits_is_refused(drives, precision):
    with pytest.raises(ValueError, match=f"train.precision is '{precision}', expected one of 32"):
        recipe_of("pretrain_synthetic", drives, f"train.precision={precision}")


def test_priors_of_regions_need_regions(drives, taught, tmp_path):
    given = [f"rosam_depth.teacher={taught}", "train.steps=1"]
    message = (
        r"uses regions \(contrast_weight, .*reliability=region\): data\.video\.regions=FOLDER"
    )
    with pytest.raises(ValueError, match=message):
        train(recipe_of("rosam_depth", drives, *given), tmp_path / "run")
    given += ["rosam_depth.contrast_weight=0", "rosam_depth.likelihood_weight=0"]
    given += ["rosam_depth.outlier_mask=false", "rosam_depth.reliability=pixel"]
    assert train(recipe_of("rosam_depth", drives, *given), tmp_path / "run")["step"] == 1


def test_relative_depth_is_not_judged_by_metric_poses(drives, taught, tmp_path):
    relative = tmp_path / "relative.pt"
    save_checkpoint(relative, {**load_checkpoint(taught), "is_metric": False})
    recipe = recipe_of("rosam_depth", drives, f"rosam_depth.teacher={relative}")
    with pytest.raises(ValueError, match=r"has no scale.*set rosam_depth\.reliability=none"):
        training_data(recipe)


def test_the_height_of_the_camera_has_to_be_known(drives, taught, tmp_path, monkeypatch, caplog):
    given = ["rosam_depth.reliability=none", "rosam_depth.known_height=true"]
    asked = recipe_of("rosam_depth", drives, *given, f"rosam_depth.teacher={taught}")
    training_data(asked)  # synthetic drives know it
    monkeypatch.setattr(SyntheticDrive, "camera_height", Drive.camera_height)
    with pytest.raises(ValueError, match=r"no drive knows.*set data\.video\.camera_height_m"):
        training_data(asked)
    stated = f"rosam_depth.teacher={taught}", "data.video.camera_height_m=1.25"
    samples, _ = training_data(recipe_of("rosam_depth", drives, *given, *stated))
    assert samples[0]["camera_height"] == 1.25
    assert "camera_height" not in caplog.text
    training_data(baseline(drives, taught, "data.video.camera_height_m=1.25"))
    assert "camera_height_m is read by rosam_depth.known_height alone" in caplog.text
    monkeypatch.setattr(SyntheticDrive, "camera_height", lambda self, index: index and 1.5)
    training_data(asked)
    assert "frames do not know how high their camera is" in caplog.text
    relative = tmp_path / "relative.pt"
    save_checkpoint(relative, {**load_checkpoint(taught), "is_metric": False})
    teacher = f"rosam_depth.teacher={relative}"
    with pytest.raises(ValueError, match=r"no scale.*set rosam_depth\.known_height=false"):
        training_data(recipe_of("rosam_depth", drives, *given, teacher))
    for height in (0, -1.5, ".inf", ".nan"):
        with pytest.raises(ValueError, match="camera_height_m must be positive, got"):
            recipe_of("rosam_depth", drives, f"data.video.camera_height_m={height}")


def test_weights_of_conditions_where_there_are_none_are_refused(drives, taught):
    recipe = baseline(drives, taught, "data.condition_weights={night: 2}")
    with pytest.raises(ValueError, match="condition_weights has no meaning for real_adaptation"):
        training_data(recipe)


class Weather(Drive):
    """Six frames, every other one at night."""

    name = "weather"

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Frame(
            image=np.full((64, 96, 3), 10 * index, np.uint8),
            camera=Camera(80, 80, 47.5, 31.5, 96, 64),
            stamp_ns=index * 10**8,
            T_world_camera=None,
            condition=("unknown", "night")[index % 2],
            camera_name="a",
        )


def test_only_frames_of_the_named_conditions_are_learned_from():
    def levels(*conditions):
        samples = RecordedSamples([Weather()], (96, 64), conditions=conditions)
        names = [samples.targets[i].index for i in range(len(samples.targets))]
        return sorted(names)

    assert levels() == [0, 1, 2, 3, 4, 5]
    assert levels("day-clear", "unknown") == [0, 2, 4]
    with pytest.raises(ValueError, match="none of 6 frames is of fog: they are of night, unk"):
        levels("fog")


def test_a_condition_that_nobody_knows_is_refused():
    assert VideoOptions(conditions="day-clear, unknown").condition_names() == [
        "day-clear",
        "unknown",
    ]
    with pytest.raises(ValueError, match="day-cleer is none of day-clear, night, day-rain"):
        VideoOptions(conditions="day-cleer,night")


def test_licence_and_origin_follow_the_weights(drives, taught, tmp_path):
    assert load_student(taught).licence == "Apache-2.0"
    assert load_student(taught).training_data == "synthetic drives of `rosam synth`"
    foreign = tmp_path / "foreign.pt"
    state = {**load_checkpoint(taught), "licence": "CC-BY-NC-SA-4.0", "origin": "elsewhere"}
    save_checkpoint(foreign, state)
    assert load_student(foreign).training_data == "elsewhere"
    train(baseline(drives, foreign), tmp_path / "a")
    given = ["train.steps=1", f"model.init={foreign}"]
    train(recipe_of("pretrain_synthetic", drives, *given), tmp_path / "b")
    given = ["train.steps=1", f"self_supervised.anchor={foreign}"]
    train(recipe_of("self_supervised", drives, *given, "model.name=light"), tmp_path / "c")
    assert load_student(tmp_path / "c/last.pt").licence == "CC-BY-NC-SA-4.0"
    for name, words in (("a", "train, by real_adaptation"), ("b", "synthetic drives of `rosam")):
        found = load_student(tmp_path / name / "last.pt")
        assert found.licence == "CC-BY-NC-SA-4.0"
        assert found.training_data.startswith(words)
        assert found.training_data.endswith("/foreign.pt")


def test_a_signal_during_validation_ends_the_run_with_everything_saved(
    drives, tmp_path, monkeypatch
):
    given = ["train.steps=9", "train.val_every=3", "train.checkpoint_every=5"]
    trainer = Trainer(recipe_of("pretrain_synthetic", drives, *given), tmp_path / "run", False)
    validate = trainer._validate

    def interrupted(records):
        validate(records)
        trainer._stop(2, None)

    monkeypatch.setattr(trainer, "_validate", interrupted)
    summary = trainer.run()
    assert summary["stopped"]
    assert summary["step"] < 9
    assert load_checkpoint(tmp_path / "run/last.pt")["step"] == summary["step"]
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert sum(row["kind"] == "val" for row in rows) == 1
