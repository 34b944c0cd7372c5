"""Region maps: overlap rules, ids and files, against maps worked out by hand."""

import json
import struct
import zlib

import cv2
import numpy as np
import pytest

from rosam_core.priors.region_map import (
    compact,
    encode_map,
    folder_name,
    is_compact,
    map_path,
    read_map,
    read_record,
    region_map,
    region_map_of,
)
from rosam_core.types import Camera, Frame


def mask(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


# A car inside a street, and a door that overlaps the car and the street.
STREET = mask("######", "######", "######", "......")
CAR = mask("......", ".###..", ".###..", ".###..")
DOOR = mask("......", "...##.", "......", "......")


def test_largest_gives_every_pixel_to_the_largest_mask_that_contains_it():
    found = region_map([DOOR, CAR, STREET], (4, 6), "largest", 0)
    assert found.dtype == np.uint16
    # The street takes all of its 18 pixels; what the car has besides are three; no door is left.
    assert found.tolist() == [[1] * 6, [1] * 6, [1] * 6, [0, 2, 2, 2, 0, 0]]


def test_smallest_keeps_an_object_inside_a_large_mask():
    found = region_map([STREET, DOOR, CAR], (4, 6), "smallest", 0)
    assert found.tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 2, 2, 3, 3, 1],
        [1, 2, 2, 2, 1, 1],
        [0, 2, 2, 2, 0, 0],
    ]


@pytest.mark.parametrize("rule", ["largest", "smallest"])
def test_the_order_of_masks_does_not_matter_unless_areas_are_equal(rule):
    masks = [STREET, CAR, DOOR]
    maps = [
        region_map([masks[i] for i in order], (4, 6), rule, 0) for order in ([0, 1, 2], [2, 0, 1])
    ]
    assert np.array_equal(*maps)
    left, right = mask("##."), mask(".##")
    assert region_map([left, right], (1, 3), rule, 0).tolist() == [[1, 1, 2]]
    assert region_map([right, left], (1, 3), rule, 0).tolist() == [[2, 1, 1]]


def test_small_regions_are_unassigned_and_ids_stay_compact():
    # The door keeps no pixel, the car 3 of 24 pixels: 12.5 %.
    masks = [DOOR, CAR, STREET]
    assert region_map(masks, (4, 6), "largest", 0.125).max() == 2
    found = region_map(masks, (4, 6), "largest", 0.126)
    assert found.max() == 1
    assert (found[3] == 0).all()
    # 0.05 % of 100 x 100 is five pixels.
    strip = np.zeros((100, 100), bool)
    strip[0, :5] = True
    assert region_map([strip], (100, 100)).sum() == 5
    strip[0, 4] = False
    assert region_map([strip], (100, 100)).sum() == 0


def test_no_masks_or_empty_ones_leave_all_unassigned():
    assert not region_map([], (2, 3)).any()
    assert not region_map([np.zeros((2, 3), bool)], (2, 3), "largest", 0).any()


def test_region_map_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match=r"overlap_rule must be one of .* got 'biggest'"):
        region_map([], (2, 3), "biggest")
    with pytest.raises(ValueError, match=r"a mask has the shape \(3, 2\), the image has \(2, 3\)"):
        region_map([np.ones((3, 2), bool)], (2, 3))
    with pytest.raises(ValueError, match="66000 regions, at most 65535 fit"):
        compact(np.arange(1, 66001).reshape(600, 110))


def test_compact_orders_by_area_and_then_by_id():
    labels = np.array([[7, 7, 9, 9, 300, 300, 300, 0]])
    assert compact(labels).tolist() == [[2, 2, 3, 3, 1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([0, 1, 2], True), ([1, 2], True), ([0], True), ([0, 2], False), ([3], False)],
)
def test_is_compact(ids, expected):
    assert is_compact(np.array([ids], np.uint16)) is expected


def test_names_of_topics_become_one_folder():
    assert folder_name("/front/image_raw") == "front_image_raw"
    assert folder_name("sets/v1.0-real") == "sets_v1.0-real"
    assert folder_name("..") == "_.."
    assert folder_name("/") == "_"


def frame_of(height: int, width: int) -> Frame:
    image = np.zeros((height, width, 3), np.uint8)
    return Frame(image, Camera.from_fov(90, width, height), 17, camera_name="/a/b")


def test_a_map_is_found_by_its_frame_and_any_program_reads_it(tmp_path):
    regions = np.array([[0, 1, 2], [1, 1, 40000]], np.uint16)
    path = map_path(tmp_path, "/a/b", 17)
    assert path == tmp_path / "a_b" / "17.png"
    path.parent.mkdir()
    path.write_bytes(encode_map(regions, {"regions": 3}))
    assert np.array_equal(region_map_of(tmp_path, frame_of(2, 3)), regions)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), regions)
    assert read_record(path) == {"regions": 3}
    with pytest.raises(ValueError, match=r"17\.png is 3x2, its image is 2x3"):
        region_map_of(tmp_path, frame_of(3, 2))


def test_the_record_is_a_valid_png_chunk():
    data = encode_map(np.zeros((1, 1), np.uint16), {"a": 1})
    at, kinds = 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        (crc,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert crc == zlib.crc32(kind + body)
        kinds.append(kind)
        if kind == b"tEXt":
            key, text = body.split(b"\0")
            assert (key, json.loads(text)) == (b"rosam-regions", {"a": 1})
        at += 12 + size
    assert kinds == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


def test_missing_and_damaged_maps_are_named(tmp_path):
    path = tmp_path / "1.png"
    with pytest.raises(FileNotFoundError, match=r"no region map .*1\.png: `rosam masks"):
        read_map(path)
    assert read_record(path) is None
    whole = encode_map(np.ones((50, 60), np.uint16), {"a": 1})
    for data in (b"", whole[:20], whole[:60], whole[:-1], b"no picture" * 20):
        path.write_bytes(data)
        assert read_record(path) is None
        with pytest.raises(ValueError, match=r"damaged region map .*1\.png"):
            read_map(path)
    path.write_bytes(whole.replace(b'{"a": 1}', b'{"a": 2}'))
    assert read_record(path) is None  # its checksum does not fit
    path.write_bytes(cv2.imencode(".png", np.ones((50, 60), np.uint8))[1].tobytes())
    assert read_record(path) is None
    with pytest.raises(ValueError, match="is no region map: uint8 with 2 dimensions"):
        read_map(path)
