"""Real RobotCar images: raw ones with a stand-in table, and prepared ones."""

import itertools
import shutil

import cv2
import numpy as np
import pytest
from robotcar_samples import turning, xyzrpy

from rosam_core.drives.neighbours import NeighbourOptions
from rosam_core.drives.recorded_samples import RecordedSamples
from rosam_core.drives.robotcar import RobotCarDrive
from rosam_core.drives.robotcar_files import read_extrinsics

DAY, NIGHT = 1418132504537582, 1418756721422679


@pytest.fixture
def raw(shared_data, tmp_path):
    """The sample in the layout of a download, with a table that changes nothing."""
    source = shared_data / "robotcar_raw"
    folder = tmp_path / "2014-05-06-12-54-54"
    (folder / "stereo").mkdir(parents=True)
    (folder / "stereo" / "centre").symlink_to(source / "images")
    shutil.copy(source / "stereo.timestamps", folder)
    shutil.copytree(source / "extrinsics", tmp_path / "extrinsics")
    (tmp_path / "models").mkdir()
    shutil.copyfile(
        source / "model" / "stereo_narrow_left.txt", tmp_path / "models/stereo_narrow_left.txt"
    )
    return folder


def test_raw_images(raw):
    with pytest.raises(FileNotFoundError, match=r"get models/stereo_narrow_left_distortion_lut"):
        RobotCarDrive(raw)
    rows, columns = np.mgrid[:960, :1280].astype(np.float64)
    table = raw.parent / "models" / "stereo_narrow_left_distortion_lut.bin"
    np.stack([columns, rows]).tofile(table)
    drive = RobotCarDrive(raw, crop=False)
    assert len(drive) == 6
    for index in range(6):
        frame = drive[index]
        stored = cv2.imread(
            str(raw / "stereo" / "centre" / f"{frame.stamp_ns // 1000}.png"), cv2.IMREAD_UNCHANGED
        )
        # Demosaicing keeps what was measured: G B / R G. The outermost pixels have no neighbours.
        inside = slice(2, -2)
        for row, column, channel in ((0, 0, 1), (1, 1, 1), (0, 1, 2), (1, 0, 0)):
            np.testing.assert_array_equal(
                frame.image[row::2, column::2, channel][inside, inside],
                stored[row::2, column::2][inside, inside],
            )
        assert frame.camera.fx == 964.828979
        assert frame.T_world_camera is None
    assert (np.diff(drive.stamps) > 0).all()


@pytest.mark.parametrize(
    ("name", "stamp", "condition"),
    [("2014-12-09-13-21-02", DAY, "day-clear"), ("2014-12-16-18-44-24", NIGHT, "night")],
)
def test_prepared_images(shared_data, tmp_path, name, stamp, condition):
    (tmp_path / "models").mkdir()
    shutil.copyfile(
        shared_data / "robotcar_raw" / "model" / "stereo_wide_left.txt",
        tmp_path / "models/stereo_wide_left.txt",
    )
    images = tmp_path / name / "stereo" / "left"
    images.mkdir(parents=True)
    source = shared_data / "frames" / "night_day_pairs" / f"{stamp}.png"
    (images / source.name).symlink_to(source)
    (tmp_path / name / "stereo.timestamps").write_text(f"{stamp} 1\n")
    frame = RobotCarDrive(tmp_path / name)[0]
    assert frame.condition == condition
    assert frame.camera.fx == 983.044006
    np.testing.assert_array_equal(frame.image, cv2.imread(str(source))[:768, :, ::-1])


def write_odometry(path, stamps, motion):
    """vo.csv as the dataset has it: from each frame to the one after, the later one first."""
    lines = ["source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw"]
    for before, after in itertools.pairwise(stamps):
        step = xyzrpy(np.linalg.inv(motion(before)) @ motion(after))
        lines.append(f"{after},{before}," + ",".join(f"{value:.9g}" for value in step))
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")


def write_ins(path, stamps, motion, T_vehicle_ins):
    """gps/ins.csv as the dataset has it, in UTM zone 30U, at 50 Hz."""
    lines = [
        "timestamp,ins_status,latitude,longitude,altitude,northing,easting,down,utm_zone,"
        "velocity_north,velocity_east,velocity_down,roll,pitch,yaw"
    ]
    for stamp in stamps:
        north, east, down, *angles = xyzrpy(motion(stamp) @ T_vehicle_ins)
        place = f"{5735000.25 + north:.6f},{620000.5 + east:.6f},{-110 + down:.6f}"
        turns = ",".join(f"{angle:.9f}" for angle in angles)
        lines.append(f"{stamp},INS_SOLUTION_GOOD,51.76,-1.26,110.0,{place},30U,1,1,0,{turns}")
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")


def test_table_odometry_and_ins_of_one_raw_traversal(raw, caplog):
    """The dataset's files around real images: a bend at 5 m/s."""
    recorded = [int(row.split()[0]) for row in (raw / "stereo.timestamps").open()]
    images = sorted(int(path.stem) for path in (raw / "stereo/centre").glob("*.png"))
    around = [t for t in recorded if images[0] - 10**6 < t < images[-1] + 10**6]
    start = around[0]

    def motion(stamp):
        return turning((stamp - start) / 2e6)  # half of 10 m/s

    write_odometry(raw / "vo/vo.csv", around, motion)
    T_vehicle_ins = read_extrinsics(raw.parent / "extrinsics/ins.txt")
    write_ins(raw / "gps/ins.csv", range(start, around[-1], 20_000), motion, T_vehicle_ins)
    u, v = np.meshgrid(np.arange(1280.0), np.arange(960.0))
    bent = 1 - 3e-7 * ((u - 640) ** 2 + (v - 480) ** 2)
    table = np.stack([640 + (u - 640) * bent, 480 + (v - 480) * bent])
    np.stack([u, v]).tofile(raw.parent / "models/stereo_narrow_left_distortion_lut.bin")
    as_recorded = RobotCarDrive(raw, crop=False, poses="").image(0)
    table.tofile(raw.parent / "models/stereo_narrow_left_distortion_lut.bin")

    drives = [RobotCarDrive(raw, poses=source) for source in ("vo", "ins")]
    assert RobotCarDrive(raw).trajectory.source == "vo"
    expected = cv2.remap(as_recorded, *table.astype(np.float32), cv2.INTER_LINEAR)[:768]
    difference = np.abs(drives[0].image(0).astype(float) - expected)[5:-5, 5:-5]
    assert difference.mean() < 0.5
    poses = [[drive.glance(i).T_world_camera for i in range(6)] for drive in drives]
    for i, j in itertools.pairwise(range(6)):
        vo, ins = (np.linalg.inv(found[i]) @ found[j] for found in poses)
        np.testing.assert_allclose(vo, ins, atol=2e-3)
        # 5 m/s ahead, which is z of the camera, and to the right, which is x.
        way = 5 * (images[j] - images[i]) / 1e6
        assert np.linalg.norm(vo[:3, 3]) == pytest.approx(way, rel=0.01)
        assert vo[2, 3] > 0.95 * way
        assert vo[0, 2] > 0.04
    assert not [r for r in caplog.records if r.levelname == "WARNING" and "pose" in r.message]
    options = NeighbourOptions(max_gap_s=1.0)  # the sample has every tenth image
    made = RecordedSamples([drives[0]], (160, 96), neighbours=options)
    sample = made.at(0, 3)
    assert len(made) == 6
    assert sample["distance_next"] == pytest.approx(5 * (images[4] - images[3]) / 1e6, rel=0.01)
    assert sample["image"].std() > 20
