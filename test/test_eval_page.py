"""The page of an evaluation shows frames as what their truth is."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from rosam_core.drives.base import Drive
from rosam_core.evaluation.eval_page import eval_page
from rosam_core.evaluation.ground_truth import GroundTruth
from rosam_core.evaluation.protocol import Evaluation
from rosam_core.evaluation.scoring import by_condition, score_image
from rosam_core.types import Camera, DepthPrediction, Frame

CAMERA = Camera(64, 64, 31.5, 23.5, 64, 48)


class Stored(Drive):
    """One frame with a depth image, as KITTI's and RobotCar's."""

    name = "stored"

    def __init__(self, depth):
        self.depth = depth

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return Frame(np.zeros((48, 64, 3), np.uint8), CAMERA, 1, depth=self.depth)


@pytest.mark.parametrize("step", [1, 4])
def test_stored_depth_of_lidar_is_shown_as_lone_points(step):
    depth = np.full((48, 64), np.nan, np.float32)
    depth[::step, ::step] = 10
    drive = Stored(depth)
    sure = np.full((48, 64), 0.8, np.float32)
    prediction = DepthPrediction(np.full((48, 64), 11, np.float32), sure, CAMERA)
    score = score_image(drive[0], depth, prediction, 0.1, 80)
    found = Evaluation([score], [(drive, 0)], 0, [], GroundTruth())
    summaries = by_condition(found.scores)
    page = eval_page("t", found, summaries, lambda *_: (prediction, None), (0.1, 80), [])
    assert [example.is_sparse for example in page.examples] == [step > 1]
