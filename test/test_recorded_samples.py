"""Samples of recorded drives: crop, mirror and size must not break what belongs together."""

import dataclasses
import hashlib
import multiprocessing
import pickle

import cv2
import numpy as np
import pytest
from moving_scene import BENT, CAMERA, MovingScene
from test_augmentation import PLAIN
from test_occlusion import LIDAR, scan, truly_hidden

from rosam_core.drives.augmentation import AugmentationOptions
from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.opening import open_drives
from rosam_core.drives.recorded_samples import RecordedSamples, ViewOptions, stable_id
from rosam_core.priors.region_map import encode_map, map_path
from rosam_core.types import CONDITIONS

SIZE = (96, 64)
WHOLE = ViewOptions(crop=(1.0, 1.0), flip=0.0)


def samples(drives=None, size=SIZE, **options):
    options = {"look": PLAIN, **options}
    return RecordedSamples(drives or [MovingScene()], size, **options)


def warped(sample, name, K=None):
    """Returns the neighbour as the target sees it, and where it does."""
    K = sample["K"].astype(np.float64) if K is None else K
    T = sample[f"T_{name}_target"].astype(np.float64)
    depth = sample["depth"][0].astype(np.float64)
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]].astype(np.float64)
    rays = np.linalg.inv(K) @ np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    points = T[:3, :3] @ (rays * depth.ravel()) + T[:3, 3:]
    u, v, z = K @ points
    z = np.where(z > 0, z, np.inf)  # no depth: not asked for below
    u, v = ((c / z).reshape(depth.shape).astype(np.float32) for c in (u, v))
    source = sample[name].transpose(1, 2, 0)
    seen = cv2.remap(source, u, v, cv2.INTER_LINEAR).astype(np.float64)
    inside = (u > 1) & (u < source.shape[1] - 2) & (v > 1) & (v < source.shape[0] - 2)
    return seen, inside & (depth > 0)


def error(sample, name, K=None):
    """Returns the mean difference of grey levels between target and warped neighbour."""
    seen, inside = warped(sample, name, K)
    target = sample["image"].transpose(1, 2, 0).astype(np.float64)
    assert inside.mean() > 0.6
    return np.abs(seen - target)[inside].mean()


@pytest.mark.parametrize("camera", [CAMERA, BENT], ids=["pinhole", "distorted"])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("flip", [0.0, 1.0], ids=["as it is", "mirrored"])
@pytest.mark.parametrize("size", [(96, 64), (208, 160)])
def test_the_neighbour_warped_by_depth_and_pose_is_the_target(camera, resize, flip, size):
    view = ViewOptions(resize, crop=(0.6, 0.9), whole=0.0, flip=flip)
    made = samples([MovingScene(camera=camera)], size, view=view)
    for epoch in range(2):
        sample = made.at(epoch, 2)
        for name in ("previous", "next"):
            right = error(sample, name)
            assert right < 1.6, (epoch, name)  # of 255
            assert np.abs(sample["image"].astype(float) - sample[name]).mean() > 3 * right
            # So exact that a wrong camera shows: half a pixel, or 2 % of the focal length.
            for change in ((0, 2, 1.0), (1, 2, 1.0), (0, 0, None), (1, 1, None)):
                K = sample["K"].astype(np.float64)
                K[change[:2]] = K[change[:2]] * 1.04 if change[2] is None else K[change[:2]] + 1
                other = np.mean([error(sample, n, K) for n in ("previous", "next")])
                assert other > np.mean([error(sample, n) for n in ("previous", "next")])


def test_the_camera_of_a_view_by_hand():
    sample = samples(view=WHOLE).at(0, 0)
    # 160x112 to 96x64: the centre of pixel c goes to (c + 0.5) s - 0.5.
    expected = [[150 * 0.6, 0, 74.75 * 0.6 - 0.5], [0, 165 * 64 / 112, 53 * 64 / 112 - 0.5]]
    np.testing.assert_allclose(sample["K"][:2], expected, rtol=1e-6)
    mirrored = samples(view=dataclasses.replace(WHOLE, flip=1.0)).at(0, 0)
    assert mirrored["K"][0, 2] == pytest.approx(95 - expected[0][2])
    assert np.array_equal(mirrored["image"], sample["image"][..., ::-1])
    T, T_mirrored = sample["T_next_target"], mirrored["T_next_target"]
    assert T_mirrored[0, 3] == -T[0, 3] != 0
    assert (T_mirrored[2, 3], T_mirrored[0, 2]) == (T[2, 3], -T[0, 2])
    assert np.linalg.det(T_mirrored[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_some_samples_show_the_camera_as_it_is_when_the_network_runs(resize):
    """Otherwise a camera would lie outside the focal lengths that its own drive trained with."""
    view = ViewOptions(resize, crop=(0.6, 0.9), whole=0.5, flip=0.5)
    made, still = samples(view=view), dataclasses.replace(WHOLE, resize=resize)
    focals = [float(made[i]["K"][0, 0]) for i in range(40)]
    whole = float(samples(view=still)[0]["K"][0, 0])
    shown = sum(focal == pytest.approx(whole, rel=1e-6) for focal in focals)
    assert 10 <= shown <= 30
    assert min(focals) == pytest.approx(whole, rel=1e-6)
    with pytest.raises(ValueError, match="0 <= whole <= 1"):
        ViewOptions(whole=1.5)


def test_cropping_keeps_the_aspect_of_the_picture():
    square = samples(size=(64, 64), view=dataclasses.replace(WHOLE, resize="crop")).at(0, 0)
    assert square["K"][0, 0] / square["K"][1, 1] == pytest.approx(150 / 165)
    assert square["K"][0, 0] == pytest.approx(150 * 64 / 112)
    stretched = samples(size=(64, 64), view=WHOLE).at(0, 0)
    assert stretched["K"][0, 0] / stretched["K"][1, 1] == pytest.approx(150 / 165 * 112 / 160)


class Columns(MovingScene):
    """Image, depth and regions that all state the column of a pixel."""

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        column = np.tile(np.arange(160, dtype=np.uint8), (112, 1))
        return dataclasses.replace(
            frame,
            image=np.repeat(column[..., None], 3, axis=2),
            depth=column.astype(np.float32) + 1,
        )


def write_regions(root, drive):
    for frame in drive:
        ids = np.tile(np.arange(160, dtype=np.uint16) // 10, (112, 1)) * 1000
        path = map_path(root / "moving", frame.camera_name, frame.stamp_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_map(ids, {}))


def test_depth_and_regions_follow_the_image(tmp_path):
    drive = Columns()
    write_regions(tmp_path, drive)
    made = samples(
        [drive], regions=tmp_path, view=ViewOptions(crop=(0.6, 0.9), whole=0.0, flip=0.5)
    )
    flips = []
    for index in range(5):
        for epoch in range(3):
            sample = made.at(epoch, index)
            column = sample["image"][0].astype(float)
            assert np.abs(sample["depth"][0] - 1 - column).max() <= 1.01
            assert sample["regions"].dtype == np.int32
            tens = sample["regions"][0] / 1000
            assert (np.abs(column - 10 * tens - 4.5) <= 6).all()
            assert set(np.unique(sample["regions"])) <= set(range(0, 16000, 1000))
            flips.append(bool(column[0, 0] > column[0, -1]))
    assert 0 < sum(flips) < len(flips)
    with pytest.raises(FileNotFoundError, match=r"no region map .*rosam masks"):
        samples([drive], regions=tmp_path / "other").at(0, 0)
    assert "regions" not in samples([drive]).at(0, 0)


def test_depth_and_regions_are_those_of_the_middle_of_a_pixel(tmp_path):
    drive = Columns()
    write_regions(tmp_path, drive)
    for flip in (0.0, 1.0):
        view = ViewOptions(
            crop=(0.9, 0.9), whole=0.0, flip=flip
        )  # 144 columns to 48: the middle of three
        sample = samples([drive], (48, 32), regions=tmp_path, view=view).at(0, 1)
        column = sample["image"][0].astype(int)
        assert np.array_equal(sample["depth"][0], column + 1)
        assert np.array_equal(sample["regions"][0], column // 10 * 1000)


def test_what_is_not_there_is_flagged():
    made = samples()
    first, middle, last = (made.at(0, i) for i in (0, 2, 4))
    found = [[bool(s[f"has_{n}"]) for n in ("previous", "next")] for s in (first, middle, last)]
    assert found == [[False, True], [True, True], [True, False]]
    assert (first["previous"] == 0).all()
    assert (first["previous_augmented"] == 0).all()
    assert np.array_equal(first["T_previous_target"], np.eye(4, dtype=np.float32))
    assert not first["has_pose_previous"]
    assert (first["seconds_previous"], first["distance_previous"]) == (0, 0)
    assert middle["seconds_previous"] == middle["seconds_next"] == pytest.approx(0.1)
    way = np.linalg.norm([0.1, 0.02, 0.4])
    assert middle["distance_next"] == pytest.approx(way, rel=1e-5)
    unposed = samples([MovingScene(has_poses=False, has_depth=False)]).at(0, 2)
    assert unposed["has_next"]
    assert not unposed["has_pose_next"]
    assert unposed["distance_next"] == 0
    assert (unposed["depth"] == 0).all()
    shapes = {name: value.shape for name, value in unposed.items()}
    assert shapes == {name: value.shape for name, value in middle.items()}
    assert {n: v.dtype for n, v in unposed.items()} == {n: v.dtype for n, v in middle.items()}


def test_sky_and_unknown_depth_are_zero():
    class Sky(MovingScene):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            frame.depth[:20], frame.depth[:, :20] = np.inf, np.nan
            return frame

    depth = samples([Sky()], view=WHOLE).at(0, 1)["depth"][0]
    assert np.isfinite(depth).all()
    assert (depth[:10] == 0).all()
    assert (depth[:, :11] == 0).all()
    assert (depth[13:, 14:] > 1).all()


class Lidar(MovingScene):
    """Without depth, with the points of a scan that looks over a box."""

    depth_is_lidar = False

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        return dataclasses.replace(frame, depth=None, lidar=scan()[0], lidar_origin=LIDAR)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_lidar_falls_where_the_camera_of_the_view_sees_it(flip):
    made = samples([Lidar()], (128, 80), view=ViewOptions(crop=(0.7, 0.8), whole=0.0, flip=flip))
    sample = made.at(0, 1)
    points = scan()[0].astype(np.float64)
    hidden = truly_hidden(points)
    points[:, 0] *= -1 if flip else 1  # mirrored, as the image is
    u, v, z = sample["K"].astype(np.float64) @ points.T
    u, v = np.rint(u / z).astype(int), np.rint(v / z).astype(int)
    inside = (u >= 0) & (u < 128) & (v >= 0) & (v < 80)
    seen = inside & ~hidden
    depth = sample["depth"][0]
    assert seen.sum() > 500
    found = depth[v[seen], u[seen]]
    assert (np.abs(found - z[seen]) < 1e-3).mean() > 0.95
    assert (np.abs(depth[v[inside & hidden], u[inside & hidden]] - 20) < 0.1).mean() < 0.2
    assert (depth > 0).sum() <= inside.sum()


def test_depth_that_is_a_picture_of_lidar_is_made_of_its_points():
    class Drawn(Lidar):
        depth_is_lidar = True

        def __getitem__(self, index):
            frame = super().__getitem__(index)
            return dataclasses.replace(frame, depth=np.full((112, 160), 3, np.float32))

    drawn, plain = (samples([d]).at(0, 1)["depth"] for d in (Drawn(), Lidar()))
    assert np.array_equal(drawn, plain)


def test_sparse_depth_moves_with_its_pixels_and_none_is_lost():
    class Sparse(MovingScene):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            depth = np.full((112, 160), np.nan, np.float32)
            depth[40:60:7, 50:110:9] = 7.5
            return dataclasses.replace(frame, depth=depth)

    depth = samples([Sparse()], view=WHOLE).at(0, 1)["depth"][0]
    assert (depth > 0).sum() == 3 * 7  # resizing the map would lose most of them
    assert depth[round((40 + 0.5) * 64 / 112 - 0.5), round((50 + 0.5) * 0.6 - 0.5)] == 7.5


def test_without_depth_no_frame_is_read_whole():
    class ImagesOnly(MovingScene):
        def __getitem__(self, index):
            raise AssertionError("read whole")

        def image(self, index):
            return MovingScene.__getitem__(self, index).image

    sample = samples([ImagesOnly()], with_depth=False).at(0, 1)
    assert (sample["depth"] == 0).all()
    assert sample["has_next"]
    assert np.array_equal(sample["image"], samples().at(0, 1)["image"])


def test_the_look_changes_only_the_augmented_images_and_all_alike():
    class Still(MovingScene):
        def image(self, index):
            return super().image(0)

    drive = Still()
    look = AugmentationOptions()
    plain, varied = samples([drive], view=WHOLE), samples([drive], view=WHOLE, look=look)
    changed = 0
    for epoch in range(8):
        one, other = plain.at(epoch, 1), varied.at(epoch, 1)
        for name in ("image", "previous", "next"):
            assert np.array_equal(one[name], other[name])
            assert np.array_equal(one[f"{name}_augmented"], one[name])
        assert np.array_equal(other["previous_augmented"], other["next_augmented"])
        changed += not np.array_equal(other["image_augmented"], other["image"])
    assert changed >= 7


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_a_sample_depends_on_seed_epoch_and_index_only():
    look = AugmentationOptions()
    first, second = samples(look=look), pickle.loads(pickle.dumps(samples(look=look)))
    ahead = [first[p] for p in range(12)]
    back = [second[p] for p in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(ahead, back, strict=True))
    assert all(same(ahead[p], first.at(*first.place(p))) for p in (0, 6, 11))
    assert first.place(11)[0] == 2
    plain = samples()  # of each epoch another view, and another look
    assert not np.array_equal(plain.at(0, 2)["K"], plain.at(1, 2)["K"])
    looks = [samples(view=WHOLE, look=look).at(e, 2)["image_augmented"] for e in range(2)]
    assert not np.array_equal(*looks)
    assert not same(first.at(0, 2), samples(look=look, seed=1).at(0, 2))
    for epoch in range(2):  # every frame once in an epoch, in another order
        ids = [int(ahead[5 * epoch + i]["id"]) for i in range(5)]
        assert sorted(ids) == sorted(int(stable_id(first.name(i))) for i in range(5))
    assert [s["id"] for s in ahead[:5]] != [s["id"] for s in ahead[5:10]]


def _read(made, positions):
    return [made[p] for p in positions]


def test_several_processes_read_the_same():
    made = samples(look=AugmentationOptions())
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = [pool.apply_async(_read, (made, range(i, 6, 2))) for i in range(2)]
        found = [part.get(timeout=60) for part in parts]
    for i, part in enumerate(found):
        assert all(same(a, made[p]) for a, p in zip(part, range(i, 6, 2), strict=True))


def test_ids_are_the_same_in_every_run():
    digest = hashlib.sha256(b"moving/camera/1600000000000000000").digest()
    made = samples()
    assert made.name(0) == "moving/camera/1600000000000000000"
    assert made.at(3, 0)["id"] == int.from_bytes(digest[:8], "big") // 2
    assert stable_id("a") == 0xCA978112CA1BBDCA // 2  # sha256 of "a" begins so
    assert len({int(made.at(0, i)["id"]) for i in range(5)}) == 5


def test_the_condition_is_its_place_in_the_list():
    drive = MovingScene()
    drive.condition = "fog"
    sample = samples([MovingScene(), drive]).at(0, 7)
    assert CONDITIONS[int(sample["condition"])] == "fog"


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ValueError, match="none of the 1 frames has any neighbour in motion"):
        samples([MovingScene(1)])
    assert len(samples([MovingScene(1)], neighbours=NeighbourOptions(need="none"))) == 1
    with pytest.raises(ValueError, match="resize must be one of stretch, crop, got 'letterbox'"):
        ViewOptions("letterbox")
    for crop in ((0.0, 1.0), (0.9, 0.8), (0.5, 1.1)):
        with pytest.raises(ValueError, match="need 0 < crop <= 1"):
            ViewOptions(crop=crop)


def test_images_of_another_size_than_the_target_are_named():
    class Mixed(MovingScene):
        def image(self, index):
            return super().image(index)[:, : 160 - 8 * (index == 3)]

    with pytest.raises(ValueError, match=r"its neighbour \(112, 152, 3\)"):
        samples([Mixed()]).at(0, 2)


def test_batches_of_the_loader():
    pytest.importorskip("torch")
    from rosam_core.loader import batches

    stream = batches(samples(), 0, 3, workers=0)
    batch = next(stream)
    assert batch["image"].shape == (3, 3, 64, 96)
    assert batch["K"].shape == (3, 3, 3)
    assert batch["has_next"].shape == (3,)
    assert batch["depth"].shape == (3, 1, 64, 96)


def test_real_drive_with_poses(shared_data):
    drives = open_drives(shared_data / "drives/kitti_odo00_416")
    made = RecordedSamples(drives, (416, 128))
    assert 900 < len(made) < 1018  # it stands at a junction for a while
    sample = made.at(0, 100)
    assert sample["has_pose_next"]
    assert sample["seconds_next"] == pytest.approx(0.1, abs=0.02)
    assert 0.03 < sample["distance_next"] < 2.5
    assert sample["T_next_target"][2, 3] < 0  # what was ahead has come nearer


def test_neighbours_are_augmented_only_if_that_is_asked_for():
    look = AugmentationOptions(noise=1.0)
    both, one = samples(look=look)[1], samples(look=look, neighbour_looks=False)[1]
    assert set(both) - set(one) == {"previous_augmented", "next_augmented"}
    for name, values in one.items():
        np.testing.assert_array_equal(values, both[name])
