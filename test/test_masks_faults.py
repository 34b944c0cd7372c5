"""`rosam masks verify`, `--recheck` and `preview`: maps with every kind of fault."""

import json

import cv2
import numpy as np
import pytest
from region_samples import START_NS, STEP_NS, tree, write_synthetic_drive

from rosam_core.cli import main
from rosam_core.priors.instances import InstanceSource
from rosam_core.priors.region_map import encode_map, read_map, read_record

INSTANCES = ("--source", "instances", "min_region_share=0")


@pytest.fixture
def drive(tmp_path):
    return write_synthetic_drive(tmp_path / "town")


@pytest.fixture
def masks(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def call(*arguments):
        code = main(["masks", *map(str, arguments)])
        return code, capsys.readouterr()

    return call


@pytest.fixture
def spoilt(tmp_path, masks):
    """A drive whose maps have one fault each, with what is said of it, by index of the frame."""
    drive, out = write_synthetic_drive(tmp_path / "town", 8), tmp_path / "maps"
    masks(drive, "-o", out, *INSTANCES)
    paths = [out / "town" / "camera" / f"{START_NS + STEP_NS * i}.png" for i in range(8)]
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    paths[3].write_bytes(encode_map(read_map(paths[3])[:32], read_record(paths[3])))
    changed = drive / "instances" / "000004.png"
    ids = cv2.imread(str(changed), cv2.IMREAD_UNCHANGED)
    ids[-1, -1] = 9
    cv2.imwrite(str(changed), ids)
    gap = read_map(paths[5])
    gap[gap == 2] = 1
    paths[5].write_bytes(encode_map(gap, read_record(paths[5])))
    fewer = read_map(paths[6])
    fewer[fewer == fewer.max()] = 1
    paths[6].write_bytes(encode_map(fewer, read_record(paths[6])))
    paths[7].write_bytes(cv2.imencode(".png", read_map(paths[7]))[1].tobytes())
    said = {
        1: "missing",
        2: "damaged",
        3: "wrong size: 96x32, its image is 96x64",
        4: "stale: made from another image",
        5: "ids are not compact",
        6: "damaged: ",
        7: "damaged: its record is missing",
    }
    return drive, out, {str(paths[i]): words for i, words in said.items()}


def test_verify_names_every_fault(spoilt, masks):
    drive, out, expected = spoilt
    code, told = masks("verify", drive, "-o", out, "--json")
    assert code == 1
    report = json.loads(told.out)
    assert report["images"] == 8
    found = {fault["path"]: fault["fault"] for fault in report["faults"]}
    assert set(found) == set(expected)
    assert len(report["faults"]) == len(found)
    for path, words in expected.items():
        assert found[path].startswith(words)
    code, told = masks("verify", drive, "-o", out)
    assert code == 1
    lines = told.out.splitlines()
    assert len(lines) == 8
    assert lines[-1] == f"{out}: 8 images, 7 faults"


def test_recheck_makes_again_what_is_at_fault_and_nothing_else(spoilt, tmp_path, masks):
    drive, out, _ = spoilt
    good = out / "town" / "camera" / f"{START_NS}.png"
    before = good.stat().st_mtime_ns
    code, told = masks(drive, "-o", out, *INSTANCES, "--recheck")
    assert code == 0
    assert "7 maps made" in told.out
    assert "1 were there" in told.out
    assert good.stat().st_mtime_ns == before
    assert masks("verify", drive, "-o", out)[0] == 0
    masks(drive, "-o", tmp_path / "fresh", *INSTANCES)
    assert tree(out) == tree(tmp_path / "fresh")


def test_another_drive_of_the_same_name_is_refused_instead_of_given_the_maps(tmp_path, masks):
    monday = write_synthetic_drive(tmp_path / "mon" / "town")
    tuesday = write_synthetic_drive(tmp_path / "tue" / "town")
    path = tuesday / "instances" / "000002.png"  # the last frame alone tells them apart
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[::-1])
    out = tmp_path / "maps"
    masks(monday, "-o", out, *INSTANCES)
    before = tree(out)
    code, told = masks(tuesday, "-o", out, *INSTANCES)
    assert code == 1
    assert "was made from another image than frame 2 of town: give another drive" in told.err
    assert tree(out) == before
    assert masks(monday, "-o", out, *INSTANCES)[0] == 0
    assert masks(tuesday, "-o", out, *INSTANCES, "--recheck")[0] == 0
    assert masks("verify", tuesday, "-o", out)[0] == 0


def test_a_stamp_that_repeats_costs_one_map_and_not_the_drive(tmp_path, drive, masks, caplog):
    masks(drive, "-o", tmp_path / "whole", *INSTANCES)
    described = json.loads((drive / "drive.json").read_text())
    described["frames"][2]["stamp_ns"] = START_NS + STEP_NS
    (drive / "drive.json").write_text(json.dumps(described))
    out = tmp_path / "maps"
    code, told = masks(drive, "-o", out, *INSTANCES)
    assert code == 0
    assert "2 maps made" in told.out
    assert "town: 1 frames have the stamp of one before them and are left out: 2" in caplog.text
    names = [name for name in tree(out) if name.endswith(".png")]
    assert names == [f"town/camera/{START_NS + STEP_NS * i}.png" for i in range(2)]
    assert [tree(out)[name] == tree(tmp_path / "whole")[name] for name in names] == [True, True]
    code, told = masks("verify", drive, "-o", out)
    assert (code, told.out) == (0, f"{out}: 2 images, 0 faults\n")


def test_an_unreadable_image_does_not_fail_one_process_of_several(drive, masks, monkeypatch):
    (drive / "images" / "day-clear" / "000001.png").write_bytes(b"no picture")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    code, told = masks(drive, "-o", drive.parent / "maps", *INSTANCES)
    assert code == 0
    assert "no map of town frame 1: damaged image" in told.err
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert masks("verify", drive, "-o", drive.parent / "maps")[0] == 1


def test_a_map_is_removed_before_it_is_made_again(spoilt, masks, monkeypatch):
    # Else another process might write regions.json with the record of the old one.
    drive, out, _ = spoilt
    real, seen = InstanceSource.regions, []

    def counted(self, ids):
        seen.append(len(list(out.glob("town/camera/*.png"))))
        return real(self, ids)

    monkeypatch.setattr(InstanceSource, "regions", counted)
    assert masks(drive, "-o", out, *INSTANCES, "--recheck")[0] == 0
    assert seen == [7] * 7  # of 8 maps; one was missing from the start, and was made first


def test_verify_names_what_is_not_finished(tmp_path, drive, masks):
    out = tmp_path / "maps"
    code, told = masks("verify", drive, "-o", out)
    assert code == 1
    assert "no " in told.out
    assert "makes region maps" in told.out
    masks(drive, "-o", out, *INSTANCES)
    index = out / "town" / "regions.json"
    content = json.loads(index.read_text())
    for frames, words in (
        (None, "unfinished: run the same"),
        ({}, "not listed so in regions.json"),
    ):
        index.write_text(json.dumps({**content, "frames": frames}))
        code, told = masks("verify", drive, "-o", out)
        assert code == 1
        assert words in told.out
    index.write_text("{")
    code, told = masks(drive, "-o", out, *INSTANCES)
    assert code == 1
    assert "regions.json is damaged" in told.err
    index.write_text('{"format": "other"}')
    assert "its format is not 'rosam-regions-1'" in masks("verify", drive, "-o", out)[1].out


def test_preview_draws_regions_over_their_images(tmp_path, drive, masks):
    pytest.importorskip("matplotlib")
    from rosam_core.evaluation.region_sheet import CELL_WIDTH, GAP

    out = tmp_path / "maps"
    masks(drive, "-o", out, *INSTANCES, "strength=0")
    (out / "town" / "camera" / f"{START_NS + 2 * STEP_NS}.png").unlink()
    code, told = masks("preview", drive, "-o", out, "--frames", "9")
    assert code == 0
    assert told.out == f"{out / 'preview.png'}\n"
    sheet = cv2.imread(str(out / "preview.png"))
    assert sheet.shape[1] == 2 * (2 * CELL_WIDTH + 4) + GAP
    picture, drawn = sheet[44:300, :CELL_WIDTH], sheet[44:300, CELL_WIDTH + 4 :][:, :CELL_WIDTH]
    assert np.ptp(picture.astype(int), axis=2).max() == 0  # the drive's pictures are grey
    sky, ground = drawn[40, 200], drawn[250, 10]
    assert np.ptp(sky.astype(int)) > 50
    assert np.abs(sky.astype(int) - ground).max() > 50
    code, told = masks("preview", drive, "-o", out, "--sheet", tmp_path / "sheet.txt")
    assert code == 1
    assert "name a .png or .jpg file" in told.err
