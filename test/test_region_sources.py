"""Sources of regions: superpixels of pictures, and true ids with faults of a known kind."""

import numpy as np
import pytest

from rosam_core.priors.instances import (
    SKY,
    InstanceSettings,
    InstanceSource,
    spoilt_masks,
    true_labels,
)
from rosam_core.priors.source import build_source, digest
from rosam_core.types import Camera, Frame


def scene() -> np.ndarray:
    """A picture of ids: sky above, ground below, and a 6 x 3 grid of touching objects."""
    ids = np.zeros((120, 200), np.uint16)
    ids[:40] = SKY
    for row in range(3):
        for column in range(6):
            ids[30 + 20 * row :, 20 + 25 * column :][:20, :25] = 1 + 6 * row + column
    return ids


def settings(**values: float) -> InstanceSettings:
    """No fault but those named."""
    none = dict.fromkeys(("parts", "whole", "merged", "missing", "border", "gap"), 0.0)
    return InstanceSettings(**{"min_region_share": 0.0, **none, **values})


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = {(int(x), int(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)}
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


def test_without_faults_regions_are_the_objects_the_ground_and_the_sky():
    exact = InstanceSource(InstanceSettings(strength=0, min_region_share=0)).regions(scene())
    assert exact.min() == 1
    assert exact.max() == 20
    assert same_partition(exact, scene())


def test_pieces_of_the_ground_that_do_not_touch_are_regions_of_their_own():
    ids = np.full((10, 30), 4, np.uint16)
    ids[:, :5] = ids[:, 25:] = 0
    assert InstanceSource(settings()).regions(ids).max() == 3


def test_sky_is_what_has_no_object_and_no_end():
    ids = np.array([[0, 0, 7, 7]], np.uint16)
    depth = np.array([[np.inf, 5, np.inf, 5]], np.float32)
    frame = Frame(np.zeros((1, 4, 3), np.uint8), Camera.from_fov(90, 4, 1), 0, depth=depth)
    with pytest.raises(ValueError, match="this drive has no object ids, only synthetic drives do"):
        true_labels(frame)
    frame = Frame(frame.image, frame.camera, 0, depth=depth, instances=ids)
    assert true_labels(frame).tolist() == [[SKY, 0, 7, 7]]
    assert ids.tolist() == [[0, 0, 7, 7]]  # the frame's own are left alone
    frame = Frame(frame.image, frame.camera, 0, instances=ids)
    assert true_labels(frame).tolist() == [[0, 0, 7, 7]]


def test_missing_masks_are_missing_whole_and_small():
    ids = scene()  # an object is 1.4 to 2.1 % of the picture
    masks = spoilt_masks(ids, settings(missing=0.5))
    assert 6 < len(masks) < 18
    for mask in masks:
        (label,) = np.unique(ids[mask])
        assert np.array_equal(mask, ids == label)
    for seed in range(5):  # the sky and the ground are never missing
        kept = spoilt_masks(ids, settings(missing=1, seed=seed))
        found = {int(ids[mask][0]) for mask in kept}
        assert {0, SKY} <= found
        assert len(found) < 15
        doubled = spoilt_masks(ids, settings(missing=0.5, strength=2, seed=seed))
        assert np.array_equal(np.sum(kept, axis=0), np.sum(doubled, axis=0))
    assert len(spoilt_masks(ids, settings(missing=0.5, strength=0))) == 20


def test_merged_masks_are_two_objects_that_touch():
    ids = scene()
    masks = spoilt_masks(ids, settings(merged=1))
    joined = [sorted(np.unique(ids[mask]).tolist()) for mask in masks]
    assert sorted(label for group in joined for label in group) == [*range(19), SKY]
    pairs = [pair for pair in joined if len(pair) == 2]
    assert len(pairs) >= 6
    for a, b in pairs:  # 6 objects a row: below each other or side by side
        assert b - a == 6 or (b - a == 1 and a % 6)
    assert [0] in joined and [SKY] in joined  # noqa: PT018


def test_parts_tile_what_they_are_parts_of():
    ids = scene()
    masks = spoilt_masks(ids, settings(parts=1))
    assert len(masks) >= 2 * 20
    covered = np.sum(masks, axis=0)
    assert (covered == 1).all()
    assert all(len(np.unique(ids[mask])) == 1 for mask in masks)
    # With the whole besides, the rule decides whether the parts are seen.
    both = settings(parts=1, whole=1)
    assert InstanceSource(both).regions(ids).max() == 20
    small = InstanceSettings(**{**vars(both), "overlap_rule": "smallest"})
    assert InstanceSource(small).regions(ids).max() == len(spoilt_masks(ids, both)) - 20 >= 40


def test_small_objects_do_not_come_as_parts():
    ids = np.zeros((100, 100), np.uint16)
    ids[:6, :6] = 1  # 0.36 % of the picture
    ids[50:57, :6] = 2  # 0.42 %
    masks = spoilt_masks(ids, settings(parts=1))
    assert sum(bool(mask[0, 0]) for mask in masks) == 1
    assert sum(bool((ids[mask] == 1).all()) for mask in masks) == 1
    assert sum(bool((ids[mask] == 2).all()) for mask in masks) >= 2


def test_borders_wander_by_about_the_amount_asked_for():
    ids = np.full((300, 300), 1, np.uint16)
    ids[:, 150:] = 2
    source = InstanceSource(settings(border=0.01))
    line = (source.regions(ids) == source.regions(ids)[0, 0]).sum(1)
    assert 1.5 < line.std() < 5  # 0.01 x 300 px
    assert abs(line.mean() - 150) < 3
    assert (source.regions(ids) > 0).all()  # neighbours keep touching


def test_gaps_open_between_masks_but_not_at_the_border_of_the_image():
    ids = np.full((40, 100), 1, np.uint16)
    ids[:, 50:] = 2
    for seed in range(8):
        # At most 0.02 x 100 = 2 px of each mask.
        masks = spoilt_masks(ids, settings(gap=0.02, seed=seed))
        free = ~np.any(masks, axis=0)
        assert not free[:, :48].any()
        assert not free[:, 52:].any()
    gaps = [
        (~np.any(spoilt_masks(ids, settings(gap=0.02, seed=s)), axis=0)).any() for s in range(8)
    ]
    assert any(gaps)


def test_a_frame_always_gets_the_same_faults_and_another_gets_others():
    ids = scene()
    first = InstanceSource().regions(ids)
    assert np.array_equal(first, InstanceSource().regions(ids.copy()))
    assert not np.array_equal(first, InstanceSource(InstanceSettings(seed=1)).regions(ids))
    other = ids.copy()
    other[119, 0] = 77
    masks = [len(spoilt_masks(x, settings(missing=0.5))) for x in (ids, other)]
    kept = [np.any(spoilt_masks(x, settings(missing=0.5)), axis=0) for x in (ids, other)]
    assert masks
    assert not np.array_equal(*kept)


def test_digest_tells_shape_and_type_apart():
    zeros = np.zeros((2, 6), np.uint8)
    assert digest(zeros) == digest(zeros.copy(order="F"))
    assert len({digest(z) for z in (zeros, zeros.reshape(3, 4), zeros.astype(np.int8))}) == 3
    # sha256 of the text "|u1 (1, 2)" and the bytes 1, 2.
    assert digest(np.array([[1, 2]], np.uint8)).startswith("afc5009e3c4d84d5")


def two_halves() -> np.ndarray:
    image = np.full((90, 160, 3), (200, 40, 40), np.uint8)
    image[:, 80:] = (40, 40, 200)
    return image


def test_felzenszwalb_finds_the_border_of_two_colours():
    pytest.importorskip("skimage")
    # Local equalisation would make slopes of these even areas.
    regions = build_source("superpixels", ["contrast=0"]).regions(two_halves())
    assert regions.dtype == np.uint16
    assert set(np.unique(regions)) == {1, 2}
    assert (regions == regions[0, 0])[:, :78].all()
    assert (regions == regions[0, -1])[:, 82:].all()


def test_equalisation_parts_what_differs_little_in_the_dark():
    pytest.importorskip("skimage")
    noise = np.random.default_rng(0).normal(0, 1, (240, 320))
    row, column = np.mgrid[:240, :320]
    grey = 20 + 8 * ((row // 20 + column // 20) % 2) + noise
    board = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2)
    plain, equalised = (
        build_source("superpixels", [f"contrast={contrast}", "scale=3000"]).regions(board).max()
        for contrast in (0, 2)
    )
    assert plain == 1
    assert equalised > 10


def test_superpixels_are_cut_at_their_width_and_returned_at_the_image_s():
    pytest.importorskip("skimage")
    regions = build_source("superpixels", ["width=16", "min_size=1"]).regions(two_halves())
    assert regions.shape == (90, 160)
    # Every border lies between two pixels of the small picture, which are ten wide.
    assert set(np.nonzero(np.diff(regions, axis=1))[1] % 10) == {9}


def test_slic_makes_about_the_number_asked_for():
    pytest.importorskip("skimage")
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    source = build_source("superpixels", ["method=slic", "segments=40", "sigma=3"])
    assert 25 <= source.regions(noise).max() <= 55


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("superpixels", "scal=3", "unknown key 'scal'; did you mean 'scale'"),
        ("superpixels", "method=watershed", "method must be felzenszwalb or slic"),
        ("superpixels", "width=0", "width must be between 16 and 100000, got 0"),
        ("superpixels", "contrast=.nan", "contrast must be between 0 and 100, got nan"),
        ("instances", "parts=1.5", "parts must be between 0 and 1, got 1.5"),
        ("instances", "overlap_rule=biggest", "overlap_rule must be largest or smallest"),
        ("instances", "min_region_share=5", "min_region_share must be between 0 and 1"),
        ("sam", "model=vit_x", "model must be vit_h, vit_l or vit_b, got 'vit_x'"),
        ("sam", "points_per_side=0", "points_per_side must be between 1 and"),
        ("magic", "a=1", "unknown source 'magic': choose from sam, superpixels, instances"),
    ],
)
def test_settings_without_a_meaning_are_named(name, override, message):
    with pytest.raises(ValueError, match=message):
        build_source(name, [override])
