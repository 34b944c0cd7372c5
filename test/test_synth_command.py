"""`rosam synth`: what it writes, how it resumes, what it says of wrong arguments."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import leaving

pytest.importorskip("torch")

import torch

from rosam_core.cli import main
from rosam_core.commands import synth
from rosam_core.drives.synthetic.drive import SyntheticDrive
from rosam_core.drives.synthetic.recipe import DriveRecipe
from rosam_core.drives.synthetic.writer import write_drive

pytestmark = pytest.mark.torch
torch.set_num_threads(1)

SIZE = (64, 48)
CONDITIONS = ("day-clear", "fog")


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def recipe(frames: int = 3, **changes: object) -> DriveRecipe:
    fields = {"suffix": ".png", "lidar": True, **changes}
    return DriveRecipe(7, frames, CONDITIONS, SIZE, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "drive_000007"
    write_drive(folder, recipe())
    return folder


def command(out: Path, *more: str) -> list[str]:
    return [
        *("synth", "--out", str(out), "--frames", "3", "--conditions", ",".join(CONDITIONS)),
        *("--seed", "7", "--size", "64x48", "--png", "--lidar", *more),
    ]


def test_a_drive_on_disk_is_what_was_rendered(finished: Path) -> None:
    from rosam_core.drives.synthetic.renderer import Renderer
    from rosam_core.drives.synthetic.world import generate_world

    world = generate_world(7, 3, 10.0, SIZE)
    rendered = Renderer().render([world], [1], ["fog"])
    frame = SyntheticDrive(finished, "fog")[1]
    assert np.array_equal(frame.image, rendered.images["fog"][0].numpy())
    assert np.array_equal(frame.instances, rendered.instances[0].numpy())
    depth = rendered.depth[0].numpy()
    assert np.array_equal(np.isinf(frame.depth), np.isinf(depth))
    seen = np.isfinite(depth)
    np.testing.assert_allclose(frame.depth[seen], depth[seen], atol=1 / 512 + 1e-4)
    assert np.allclose(frame.T_world_camera, world.camera_pose(1))
    assert frame.camera.fx == pytest.approx(world.camera.fx)
    assert frame.lidar.shape[1] == 3
    assert frame.stamp_ns - SyntheticDrive(finished)[0].stamp_ns == 10**8


def test_two_workers_write_the_same_bytes_as_one(finished: Path, tmp_path: Path) -> None:
    assert main(command(tmp_path, "--workers", "2")) == 0
    assert content(tmp_path / "drive_000007") == content(finished)


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    out, folder, frames = tmp_path / "out", tmp_path / "out" / "drive_000007", 12
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "rosam_core.cli", *command(out, "--workers", "1")),
            *("--frames", str(frames)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while len(list((folder / "instances").glob("0*.png"))) < 3:
            assert run.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    deadline = time.monotonic() + 20
    before = -1
    while before != (before := len(content(folder))):  # the worker ends with its parent
        time.sleep(0.5)
        assert time.monotonic() < deadline
    assert not (folder / "drive.json").exists()
    done = {path: os.stat(path).st_mtime_ns for path in (folder / "depth").glob("00000[01].png")}
    with pytest.raises(FileNotFoundError, match="the drive is unfinished"):
        SyntheticDrive(folder)
    write_drive(folder, recipe(frames))
    write_drive(tmp_path / "whole", recipe(frames))
    assert content(folder) == content(tmp_path / "whole")
    for path, stamp in done.items():
        assert os.stat(path).st_mtime_ns == stamp, "a finished frame was rendered again"


@pytest.mark.parametrize(
    "name",
    ["depth/000001.png", "images/fog/000002.png", "lidar/000000.npy", "instances/000001.png"],
)
def test_a_file_that_was_deleted_is_made_again(finished: Path, name: str) -> None:
    before = content(finished)
    (finished / name).unlink()
    with pytest.raises(FileNotFoundError) if "lidar" not in name else _nothing():
        list(SyntheticDrive(finished, "fog"))
    write_drive(finished, recipe())
    assert content(finished) == before


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


def test_a_folder_of_another_recipe_is_left_alone(finished: Path, capsys) -> None:
    before = content(finished)
    with pytest.raises(ValueError, match="holds a drive made with other options: choose another"):
        write_drive(finished, recipe(fps=5.0))
    assert main(command(finished.parent, "--fps", "5", "--workers", "1")) == 1
    assert "made with other options" in capsys.readouterr().err
    assert content(finished) == before


def test_a_schedule_renders_one_condition_a_frame(tmp_path: Path) -> None:
    schedule = ["fog", "day-clear", "fog"]
    for indices in ((0, 2), (1,), None):  # two processes, and the last call
        write_drive(tmp_path, recipe(lidar=False), schedule=schedule, indices=indices)
        assert (tmp_path / "drive.json").exists() == (indices is None)
    images = sorted(str(p.relative_to(tmp_path / "images")) for p in tmp_path.rglob("images/*/*"))
    assert images == ["day-clear/000001.png", "fog/000000.png", "fog/000002.png"]
    drive = SyntheticDrive(tmp_path, "recorded")
    assert [frame.condition for frame in drive] == schedule
    with pytest.raises(FileNotFoundError, match="rendered in fog only, not in day-clear"):
        SyntheticDrive(tmp_path, "day-clear")[0]
    with pytest.raises(ValueError, match="other options"):
        write_drive(tmp_path, recipe(lidar=False), schedule=["fog"] * 3)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (["fog"], "the schedule names 1 conditions for 3 frames"),
        (["fog", "night", "fog"], r"the schedule names \['night'\], the recipe has"),
    ],
)
def test_a_schedule_that_does_not_fit(tmp_path: Path, schedule, message) -> None:
    with pytest.raises(ValueError, match=message):
        write_drive(tmp_path / "d", recipe(), schedule=schedule)
    assert not (tmp_path / "d").exists()


def test_supersampling_smooths_the_picture_and_keeps_the_depth(
    finished: Path, tmp_path: Path
) -> None:
    write_drive(tmp_path, recipe(supersample=2))
    fine, plain = SyntheticDrive(tmp_path)[0], SyntheticDrive(finished)[0]
    assert fine.camera == plain.camera
    assert np.array_equal(fine.depth, plain.depth)
    assert np.array_equal(fine.instances, plain.instances)
    difference = np.abs(fine.image.astype(int) - plain.image)
    assert 0 < np.median(difference.max(2)) < 40


def test_leftovers_of_killed_processes_are_swept(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    leaving(tmp_path / "depth" / f".000000.png.{2**22 + 1}.tmp")
    write_drive(tmp_path, recipe(1, lidar=False))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "0"], "argument --frames: must be at least 1, got 0"),
        (["--frames", "few"], "argument --frames: invalid integer value: 'few'"),
        (["--drives", "-1"], "argument --drives: must be at least 1, got -1"),
        (["--seed", "-1"], "argument --seed: must be at least 0, got -1"),
        (["--supersample", "0"], "argument --supersample: must be at least 1"),
        (["--size", "576"], "argument --size: must look like 576x320, got '576'"),
        (["--size", "8x8"], "argument --size: must be at least 32x32, got 8x8"),
        (["--fps", "0"], "argument --fps: must be between 0.1 and 1000, got 0"),
        (["--fov", "nan"], "argument --fov: must be between 5 and 170, got nan"),
        (
            ["--conditions", "night,snow"],
            "argument --conditions: unknown conditions snow: choose from day-clear, night",
        ),
        (["--conditions", ","], "argument --conditions: no condition: choose from day-clear"),
        (["--depth"], "unrecognized arguments: --depth"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_why(tmp_path, capsys, arguments, message) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["synth", "--out", str(tmp_path / "out"), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_out_is_required(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["synth"])
    assert stopped.value.code == 2
    assert "the following arguments are required: --out" in capsys.readouterr().err


def test_an_unknown_device_ends_with_one_line(tmp_path: Path, capsys) -> None:
    assert main(command(tmp_path, "--device", "toaster", "--workers", "1")) == 1
    assert capsys.readouterr().err.strip() == (
        "rosam synth: unknown device 'toaster': use cpu or cuda"
    )


def recipes(*words: str) -> list[DriveRecipe]:
    """What the command would render."""
    parser = argparse.ArgumentParser()
    synth.add_arguments(parser)
    return list(synth._recipes(parser.parse_args(["--out", "x", *words])).values())


def test_every_option_reaches_the_recipe() -> None:
    words = ["--drives", "2", "--seed", "5", "--frames", "3", "--conditions", "night,fog"]
    words += ["--size", "96x64", "--fps", "4", "--fov", "70", "--png", "--lidar"]
    words += ["--supersample", "2", "--world", "cluttered"]
    words += ["--camera-height", "0.4", "--camera-pitch", "12"]
    for seed, found in zip((5, 6), recipes(*words), strict=True):
        expected = DriveRecipe(
            seed=seed,
            frames=3,
            conditions=("night", "fog"),
            size=(96, 64),
            fps=4.0,
            fov_deg=70.0,
            suffix=".png",
            lidar=True,
            supersample=2,
            world="cluttered",
            camera_height_m=0.4,
            camera_pitch_deg=12.0,
        )
        assert found == expected
    assert [found.world for found in recipes()] == ["any"]


def test_conditions_per_drive_are_drawn_from_the_seed() -> None:
    def conditions(drives: int, count: int) -> list[tuple[str, ...]]:
        words = ("--drives", str(drives), "--conditions-per-drive", str(count))
        return [recipe.conditions for recipe in recipes(*words)]

    drawn = conditions(40, 2)
    assert drawn == conditions(40, 2)
    assert drawn[:10] == conditions(10, 2)
    assert all(len(set(names)) == 2 for names in drawn)
    assert {name for names in drawn for name in names} == set(synth.RENDERED)
    assert conditions(2, 0) == [synth.RENDERED] * 2
    assert all(set(names) == set(synth.RENDERED) for names in conditions(2, 9))


def test_the_recipe_is_kept_beside_the_drive(finished: Path) -> None:
    assert json.loads((finished / "recipe.json").read_text())["seed"] == 7


def test_conditions_in_turn_by_the_command(tmp_path: Path) -> None:
    for _ in range(2):  # the second run finds everything rendered
        assert main(command(tmp_path, "--in-turn", "--workers", "2")) == 0
    drive = SyntheticDrive(tmp_path / "drive_000007", "recorded")
    assert drive.conditions == ["day-clear", "day-clear", "fog"]
    assert [frame.condition for frame in drive] == drive.conditions
    assert not (tmp_path / "drive_000007" / "images" / "fog" / "000000.png").exists()
