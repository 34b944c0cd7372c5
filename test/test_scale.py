import pytest

from rosam_core.runtime.scale import metric_scale, network_focal_px, unseen_view
from rosam_core.types import Camera, ModelCard

CARD = ModelCard(
    "m", "none", 576, 320, 400.0, (250.0, 700.0), 0.1, 80.0, True, 1.0, "", "Apache-2.0", "none"
)


def camera(fx: float, fy: float) -> Camera:
    return Camera(fx, fy, 287.5, 159.5, 576, 320)


def test_scale_is_focal_over_training_focal() -> None:
    assert metric_scale(camera(400, 400), CARD) == 1.0
    assert metric_scale(camera(800, 800), CARD) == 2.0
    assert network_focal_px(camera(200, 800)) == pytest.approx(400.0)


@pytest.mark.parametrize(("focal", "seen"), [(246, True), (250, True), (700, True), (713, True)])
def test_edges_have_the_slack_of_rounding_and_stretching(focal: float, seen: bool) -> None:
    assert (unseen_view(camera(focal, focal), CARD) is None) is seen


@pytest.mark.parametrize("focal", [240.0, 720.0])
def test_outside_is_named(focal: float) -> None:
    text = unseen_view(camera(focal, focal), CARD)
    assert text is not None
    assert f"{focal:.0f} px" in text
    assert "views of 45 to 98 degrees" in text
