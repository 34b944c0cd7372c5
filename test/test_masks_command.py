"""`rosam masks`: resuming after a kill, and sharing the making of region maps."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from region_samples import START_NS, STEP_NS, tree, write_synthetic_drive
from support import leaving

from rosam_core.cli import main
from rosam_core.drives.opening import open_drives
from rosam_core.priors import making
from rosam_core.priors.instances import InstanceSource
from rosam_core.priors.region_map import read_map, read_record, region_map_of
from rosam_core.priors.source import digest

GONE = 2**22 + 1  # no process has this number: Linux counts to 2^22
INSTANCES = ("--source", "instances", "min_region_share=0")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def drive(tmp_path):
    return write_synthetic_drive(tmp_path / "town")


@pytest.fixture
def masks(capsys):
    def call(*arguments):
        code = main(["masks", *map(str, arguments)])
        return code, capsys.readouterr()

    return call


def test_maps_lie_where_the_loader_finds_them(tmp_path, drive, masks):
    out = tmp_path / "maps"
    code, told = masks(drive, "-o", out, *INSTANCES, "strength=0")
    assert code == 0
    assert told.out == f"{out}: 3 maps made, 7 regions each\n"
    assert sorted(tree(out)) == [
        *(f"town/camera/{START_NS + STEP_NS * i}.png" for i in range(3)),
        "town/regions.json",
    ]
    (opened,) = open_drives(drive)
    frame = opened[1]
    regions = region_map_of(out / "town", frame)
    assert regions.shape == (64, 96)
    # With strength 0 the map is the truth: five boxes, the ground and the sky.
    pairs = set(zip(regions.ravel().tolist(), frame.instances.ravel().tolist(), strict=True))
    assert len(pairs) == 7
    assert len(np.unique(regions[:20])) == 1


def test_regions_json_tells_source_settings_hashes_and_counts(tmp_path, drive, masks):
    out = tmp_path / "maps"
    masks(drive, "-o", out, "--source", "instances", "strength=0", "seed=4")
    told = json.loads((out / "town" / "regions.json").read_text())
    assert told["source"] == "instances"
    assert told["drive"] == "town"
    assert told["settings"]["seed"] == 4
    assert told["settings"]["min_region_share"] == 0.0005
    frame = open_drives(drive)[0][2]
    path = out / "town" / "camera" / f"{frame.stamp_ns}.png"
    assert list(told["frames"]) == [f"camera/{START_NS + STEP_NS * i}" for i in range(3)]
    assert told["frames"][f"camera/{frame.stamp_ns}"] == {
        "input_sha256": digest(InstanceSource.sees(open_drives(drive)[0], 2)),
        "width": 96,
        "height": 64,
        "regions": read_map(path).max(),
        "unassigned": 0.0,
    }


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, masks):
    drive = write_synthetic_drive(tmp_path / "town", 250)
    whole, out = tmp_path / "whole", tmp_path / "maps"
    arguments = ("masks", str(drive), "-o", str(out), *INSTANCES)
    killed = subprocess.Popen([sys.executable, "-m", "rosam_core.cli", *arguments])
    try:
        end = time.monotonic() + 60
        while len(list(out.glob("town/camera/*.png"))) < 5 and time.monotonic() < end:
            time.sleep(0.002)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    made = len(list(out.glob("town/camera/*.png")))
    assert 5 <= made < 250
    assert json.loads((out / "town" / "regions.json").read_text())["frames"] is None
    # What a kill in the middle of writing leaves, and what a power cut may.
    leaving(out / "town" / "camera" / f".{START_NS}.png.{GONE}.tmp")
    first = out / "town" / "camera" / f"{START_NS}.png"
    first.write_bytes(first.read_bytes()[:-20])
    code, told = masks(*arguments[1:])
    assert code == 0
    assert f"{250 - made + 1} maps made" in told.out
    assert f"{made - 1} were there" in told.out
    assert masks(drive, "-o", whole, *INSTANCES)[0] == 0
    assert tree(out) == tree(whole)


def test_processes_share_the_images_and_end_alike(tmp_path, drive, masks, monkeypatch):
    alone, out = tmp_path / "alone", tmp_path / "maps"
    second = write_synthetic_drive(tmp_path / "village", 4)
    masks(drive, second, "-o", alone, *INSTANCES)
    monkeypatch.setenv("WORLD_SIZE", "3")
    counts = []
    for rank in (2, 0, 1):
        monkeypatch.setenv("RANK", str(rank))
        code, told = masks(drive, second, "-o", out, *INSTANCES, "--json")
        assert code == 0
        counts.append(json.loads(told.out))
    assert [count["made"] for count in counts] == [2, 3, 2]
    assert [count["kept"] for count in counts] == [0, 0, 0]
    assert [count["unfinished"] for count in counts] == [2, 2, 0]
    assert tree(out) == tree(alone)


def test_processes_at_the_same_time_end_alike(tmp_path, masks):
    drive = write_synthetic_drive(tmp_path / "town", 20)
    alone, out = tmp_path / "alone", tmp_path / "maps"
    masks(drive, "-o", alone, *INSTANCES)
    command = [sys.executable, "-m", "rosam_core.cli", "masks", drive, "-o", out, *INSTANCES]
    started = [
        subprocess.Popen(command, env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "3"})
        for rank in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert tree(out) == tree(alone)


@pytest.mark.parametrize(("rank", "world"), [("3", "3"), ("-1", "2"), ("a", "2"), ("0", "0")])
def test_a_rank_outside_the_world_is_refused(rank, world):
    with pytest.raises(
        ValueError, match=f"RANK={rank} and WORLD_SIZE={world}: expected 0 <= RANK"
    ):
        making.shard_of({"RANK": rank, "WORLD_SIZE": world})


def test_ctrl_c_tells_how_far_it_came(tmp_path, drive, masks, monkeypatch):
    real = InstanceSource.regions

    def stop_at_third(self, seen):
        if len(list(tmp_path.glob("maps/*/*/*.png"))) == 2:
            raise KeyboardInterrupt
        return real(self, seen)

    monkeypatch.setattr(InstanceSource, "regions", stop_at_third)
    code, told = masks(drive, "-o", tmp_path / "maps", *INSTANCES)
    assert code == 1
    assert told.err.endswith(
        "rosam masks: stopped after 2 of 3 images; the same command resumes\n"
    )


def test_other_settings_need_another_folder(tmp_path, drive, masks):
    out = tmp_path / "maps"
    masks(drive, "-o", out, *INSTANCES)
    before = tree(out)
    code, told = masks(drive, "-o", out, *INSTANCES, "parts=0.5", "seed=2")
    assert code == 1
    assert "town holds maps made otherwise (settings.parts 0.3, now 0.5; settings.seed" in told.err
    assert "use another OUT, or delete it" in told.err
    assert tree(out) == before


def test_an_unreadable_image_is_named_and_the_others_are_made(tmp_path, drive, masks):
    broken = drive / "images" / "day-clear" / "000001.png"
    content = broken.read_bytes()
    broken.write_bytes(b"no picture")
    out = tmp_path / "maps"
    code, told = masks(drive, "-o", out, *INSTANCES)
    assert code == 1
    assert f"{out}: 2 maps made" in told.out
    assert "1 drives are not finished" in told.out
    assert "rosam masks: no map of town frame 1: damaged image" in told.err
    broken.write_bytes(content)
    code, told = masks(drive, "-o", out, *INSTANCES)
    assert code == 0
    assert "1 maps made" in told.out


def test_a_drive_without_ids_is_refused_at_once(tmp_path, masks):
    for number in range(2):
        (tmp_path / "d").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "d" / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    code, told = masks(tmp_path / "d", "--fov", 60, "-o", tmp_path / "maps", *INSTANCES)
    assert code == 1
    assert told.err == (
        "rosam masks: this drive has no object ids, only synthetic drives do: use another "
        "--source\n"
    )


def test_renderings_share_maps_made_from_the_clearest(tmp_path, masks):
    pytest.importorskip("skimage")
    drive = write_synthetic_drive(tmp_path / "town", 1, ("night", "day-clear"))
    for out, more in (("maps", ()), ("night", ("--condition", "night"))):
        code, told = masks(drive, "-o", tmp_path / out, "--source", "superpixels", *more)
        assert code == 0
        assert "1 maps made" in told.out
        path = tmp_path / out / "town" / "camera" / f"{START_NS}.png"
        frame = open_drives(drive, conditions=["night" if more else "day-clear"])[0][0]
        assert read_record(path)["input_sha256"] == digest(frame.image)
    code, told = masks(drive, "-o", tmp_path / "night", "--source", "superpixels")
    assert code == 1
    assert "rendering 'night', now 'day-clear'" in told.err
    assert masks("verify", drive, "-o", tmp_path / "night", "--condition", "night")[0] == 0
    code, told = masks("verify", drive, "-o", tmp_path / "night")
    assert code == 1
    assert "maps of the rendering night, compared with day-clear" in told.out
    assert "stale" in told.out


def test_drives_of_one_name_are_refused(tmp_path, drive, masks):
    other = write_synthetic_drive(tmp_path / "b" / "town")
    code, told = masks(drive, other, "-o", tmp_path / "maps", *INSTANCES)
    assert code == 1
    assert "frame 0 of town and frame 0 of town would share" in told.err
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say where regions come from: --source sam|superpixels|instances"),
        (("--source", "instances", "partz=1"), "unknown key 'partz'; did you mean 'parts'"),
        (("--source", "sam"), "--source sam needs --checkpoint FILE"),
        (("--source", "instances", "--device", "cpu"), "--device has no meaning for instances"),
        (("--source", "instances", "--checkpoint", "x"), "--checkpoint and --points-per-batch"),
        (("--source", "instances", "--frames", "3"), "--frames has no meaning for rosam masks"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, drive, masks, arguments, message):
    code, told = masks(drive, "-o", tmp_path / "maps", *arguments)
    assert code == 1
    assert message in told.err
    assert not (tmp_path / "maps").exists()


def test_actions_refuse_options_of_others(tmp_path, drive, masks):
    code, told = masks("verify", drive, "-o", tmp_path, "--source", "sam", "parts=1")
    assert code == 1
    assert "--source, parts=1 has no meaning for rosam masks verify" in told.err
    code, told = masks("preview", "-o", tmp_path)
    assert code == 1
    assert "name a drive: rosam masks preview DRIVE" in told.err


def test_a_file_system_without_links_will_do(tmp_path, drive, masks, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    masks(drive, "-o", tmp_path / "with", *INSTANCES)
    monkeypatch.setattr(os, "link", refuse)
    assert masks(drive, "-o", tmp_path / "without", *INSTANCES)[0] == 0
    assert tree(tmp_path / "with") == tree(tmp_path / "without")


def test_scratch_files_of_living_and_of_late_processes_stay(tmp_path, drive, masks):
    out = tmp_path / "maps"
    masks(drive, "-o", out, *INSTANCES)
    folder = out / "town" / "camera"
    alive = leaving(folder / f".5.png.{os.getpid()}.tmp")
    late = leaving(folder / f".6.png.{GONE}.tmp", age_s=0)  # of another machine, perhaps
    gone = leaving(folder / f".7.png.{GONE}.tmp")
    masks(drive, "-o", out, *INSTANCES)
    assert (alive.exists(), late.exists(), gone.exists()) == (True, True, False)


def test_sources_that_need_but_the_image_read_nothing_else(tmp_path, masks):
    pytest.importorskip("skimage")
    drive = write_synthetic_drive(tmp_path / "town")
    for path in (*drive.glob("depth/*"), *drive.glob("instances/*")):
        path.unlink()
    more = ("-o", tmp_path / "maps")
    assert masks(drive, *more, "--source", "superpixels")[0] == 0
    assert masks("verify", drive, *more)[0] == 0
