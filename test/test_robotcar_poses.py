"""Interpolated poses against values worked out by hand."""

import numpy as np
import pytest
from robotcar_samples import START, turning, write_vo

from rosam_core.drives.robotcar_files import transforms
from rosam_core.drives.robotcar_poses import interpolate, read_ins, read_vo


def turn_z(degrees, *position):
    T = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    T[:2, :2] = [[c, -s], [s, c]]
    T[:3, 3] = position or (0, 0, 0)
    return T


@pytest.mark.parametrize(
    ("before", "after", "share", "expected"),
    [
        (turn_z(0, 0, 0, 0), turn_z(90, 3, 0, 6), 1 / 3, turn_z(30, 1, 0, 2)),
        (turn_z(170), turn_z(-170), 0.25, turn_z(175)),  # the short way round
        (turn_z(20, 1, 2, 3), turn_z(20, 1, 2, 3), 0.7, turn_z(20, 1, 2, 3)),
        (turn_z(-40, 5, 0, 0), turn_z(60), 0.0, turn_z(-40, 5, 0, 0)),
        (turn_z(-40, 5, 0, 0), turn_z(60), 1.0, turn_z(60)),
        (turn_z(0), turn_z(1e-7), 0.5, turn_z(5e-8)),
    ],
)
def test_position_is_linear_and_rotation_constant(before, after, share, expected):
    T = interpolate(before[None], after[None], np.array([share]))[0]
    np.testing.assert_allclose(T, expected, atol=1e-14)


def test_rotation_about_any_axis():
    # 120 degrees about (1, 1, 1) takes x to y, y to z, z to x; half of it leaves the axis alone
    # and has trace 1 + 2 cos 60 = 2.
    after = np.eye(4)
    after[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    half = interpolate(np.eye(4)[None], after[None], np.array([0.5]))[0, :3, :3]
    np.testing.assert_allclose(half @ [1, 1, 1], [1, 1, 1], atol=1e-15)
    assert np.trace(half) == pytest.approx(2)
    np.testing.assert_allclose(half @ half, after[:3, :3], atol=1e-15)


def test_euler_angles_are_applied_roll_first():
    T = transforms(np.array([[1, 2, 3, np.pi / 2, 0, np.pi / 2]]))[0]
    # Roll takes y to z, then yaw takes x to y: x -> y, y -> z, z -> x.
    expected = [[0, 0, 1, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(T, expected, atol=1e-15)
    pitched = transforms(np.array([[0, 0, 0, 0, np.pi / 2, 0]]))[0, :3, :3]
    np.testing.assert_allclose(pitched @ [1, 0, 0], [0, 0, -1], atol=1e-15)


def test_odometry_is_chained(tmp_path):
    stamps = [START + 62500 * i for i in range(30)]
    write_vo(tmp_path / "vo.csv", stamps, turning)
    trajectory = read_vo(tmp_path / "vo.csv")
    T, stretches = trajectory.at(np.array([stamps[0], stamps[29], stamps[10] + 15625]))
    np.testing.assert_allclose(T[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(T[1], turning(29 * 0.0625), atol=1e-9)
    assert (stretches == 0).all()
    # A quarter of the way: the rotation is that of the circle, the position on its chord.
    np.testing.assert_allclose(T[2, :3, :3], turning(0.640625)[:3, :3], atol=1e-9)
    chord = 0.75 * turning(0.625)[:3, 3] + 0.25 * turning(0.6875)[:3, 3]
    np.testing.assert_allclose(T[2, :3, 3], chord, atol=1e-9)
    _, stretches = trajectory.at(np.array([stamps[0] - 1, stamps[29] + 1]))
    assert stretches.tolist() == [-1, -1]
    floored = trajectory.floored(np.array([stamps[10] + 62499, stamps[11], stamps[0] - 5]))
    np.testing.assert_allclose(floored[0], turning(0.625), atol=1e-9)
    np.testing.assert_allclose(floored[1], turning(0.6875), atol=1e-9)
    np.testing.assert_allclose(floored[2], np.eye(4), atol=1e-12)


def test_each_step_is_in_the_frame_of_the_one_before(tmp_path):
    # 2 m ahead and a quarter turn to the right, then 1 m ahead, which is 1 m to the right.
    poses = [np.eye(4), turn_z(90, 2, 0, 0), turn_z(90, 2, 1, 0)]
    stamps = [START, START + 10, START + 20]
    write_vo(tmp_path / "vo.csv", stamps, lambda seconds: poses[round(seconds * 1e5)])
    T, _ = read_vo(tmp_path / "vo.csv").at(np.array(stamps))
    np.testing.assert_allclose(T, poses, atol=1e-11)


def test_odometry_may_name_the_earlier_frame_first(tmp_path):
    write_vo(tmp_path / "vo.csv", [START, START + 10, START + 20], turning)
    lines = (tmp_path / "vo.csv").read_text().splitlines()
    swapped = [",".join([b, a, *rest]) for a, b, *rest in (line.split(",") for line in lines[1:])]
    (tmp_path / "swapped.csv").write_text("\n".join([lines[0], *swapped]))
    one, other = read_vo(tmp_path / "vo.csv"), read_vo(tmp_path / "swapped.csv")
    np.testing.assert_array_equal(one.stamps, other.stamps)
    np.testing.assert_array_equal(one.T_origin_vehicle, other.T_origin_vehicle)


def test_repeated_odometry_is_left_out(tmp_path, caplog):
    write_vo(tmp_path / "vo.csv", [START + 10 * i for i in range(4)], turning)
    lines = (tmp_path / "vo.csv").read_text().splitlines()
    (tmp_path / "vo.csv").write_text("\n".join([*lines[:3], lines[2], lines[3]]))
    trajectory = read_vo(tmp_path / "vo.csv")
    assert trajectory.stamps.tolist() == [START, START + 10, START + 20, START + 30]
    assert "1 poses are not later" in caplog.text


INS = "timestamp,ins_status,northing,easting,down,utm_zone,roll,pitch,yaw\n"
RTK = "timestamp,northing,easting,down,utm_zone,x,roll,pitch,yaw\n"


@pytest.mark.parametrize(
    ("source", "header", "row"),
    [("ins", INS, "{t},GOOD,{n},{e},{d},30U,{r}"), ("rtk", RTK, "{t},{n},{e},{d},30U,9,{r}")],
)
def test_inertial_poses_are_east_north_up(tmp_path, source, header, row):
    # Facing east (yaw 90 from north, clockwise seen from above as z is down), 2 m north and
    # 1 m up within 20 ms; the unit sits 1 m in front of the vehicle's origin.
    east = f"0,0,{np.pi / 2}"
    rows = [(START, 5.7e6, 6.2e5, -100), (START + 20000, 5.7e6 + 2, 6.2e5, -101)]
    text = "\n".join(row.format(t=t, n=n, e=e, d=d, r=east) for t, n, e, d in rows)
    (tmp_path / "ins.csv").write_text(header + text + "\n")
    (tmp_path / "ins.txt").write_text("1 0 0 0 0 0")
    trajectory = read_ins(tmp_path / "ins.csv", tmp_path / "ins.txt", source)
    T, _ = trajectory.at(np.array([START + 10000]))
    T_world_vehicle = trajectory.T_world_origin @ T[0]
    # Half way 1 m north and 0.5 m up; the vehicle is 1 m west of the unit.
    np.testing.assert_allclose(T_world_vehicle[:3, 3], [-1, 1, 0.5], atol=1e-9)
    np.testing.assert_allclose(T_world_vehicle[:3, 0], [1, 0, 0], atol=1e-12)  # forward: east
    np.testing.assert_allclose(T_world_vehicle[:3, 2], [0, 0, -1], atol=1e-12)  # down


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (INS, "has no pose"),
        ("timestamp,x\n1,2\n", "no column northing, easting"),
        (INS + f"{START},GOOD,1,2\n", "line 2: expected 9 values"),
        (INS + f"{START},GOOD,1,2,3,30U,0,0,nan\n", "pose 1 of 1 is not finite"),
    ],
)
def test_damaged_inertial_poses_are_named(tmp_path, text, message):
    (tmp_path / "ins.csv").write_text(text)
    (tmp_path / "ins.txt").write_text("0 0 0 0 0 0")
    with pytest.raises(ValueError, match=message):
        read_ins(tmp_path / "ins.csv", tmp_path / "ins.txt")
