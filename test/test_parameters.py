"""The declarations of the node's parameters, and the files generated from them."""

import subprocess
import sys

import pytest
import yaml

from rosam_core.runtime.pipeline import OUTPUT_SIZES
from rosam_core.runtime.preprocess import RESIZE_MODES
from rosam_depth_ros import parameters
from rosam_depth_ros.parameters import NodeParameters, check_value, unknown_parameter_messages


@pytest.mark.parametrize(
    ("option", "path"), [([], "docs/interface.md"), (["--yaml"], "config/depth.yaml")]
)
def test_generated_file_is_up_to_date(repository, option, path):
    command = [sys.executable, "-m", "rosam_depth_ros.parameters", *option]
    made = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert made.stdout == (repository / path).read_text(encoding="utf-8"), (
        f"run: python -m rosam_depth_ros.parameters {' '.join(option)} > {path}"
    )


def test_yaml_holds_every_parameter_at_its_default(repository):
    text = (repository / "config" / "depth.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert NodeParameters(**values) == NodeParameters()
    assert set(values) == set(parameters.SPECIFICATIONS)


def test_every_parameter_has_a_description_and_a_default_that_is_allowed():
    for name, field in parameters.SPECIFICATIONS.items():
        assert field.metadata["description"].endswith("."), name
        assert check_value(name, field.default) == field.default


def test_choices_are_those_of_the_pipeline():
    assert parameters.SPECIFICATIONS["resize"].metadata["choices"] == RESIZE_MODES
    assert parameters.SPECIFICATIONS["output_size"].metadata["choices"] == OUTPUT_SIZES


def test_integer_is_accepted_where_a_float_is_meant():
    value = check_value("fov_deg", 60)
    assert value == 60.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("threads", "two", "threads must be integer, got 'two'"),
        ("threads", 2.0, "threads must be integer, got 2.0 (double)"),
        ("threads", True, "threads must be integer, got True (bool)"),
        ("threads", -1, "must be in [0, 256], got -1"),
        ("spinning", 1, "spinning must be bool"),
        ("fov_deg", 180.0, "must be in [0, 179], got 180"),
        ("fov_deg", float("nan"), "must be in [0, 179], got nan"),
        ("min_confidence", 1.5, "must be in [0, 1], got 1.5"),
        ("depth_encoding", "64FC1", "must be one of 32FC1, 16UC1, got '64FC1'"),
        ("engine", "tensorflow", "engine must be one of auto, "),
        ("points_stride", 0, "must be in [1, 64], got 0"),
        ("model", 3, "model must be string, got 3 (integer)"),
    ],
)
def test_wrong_value_is_refused_with_what_is_allowed(name, value, words):
    with pytest.raises(ValueError, match=r"parameter ") as caught:
        check_value(name, value)
    assert words in str(caught.value)


def test_a_refused_change_leaves_everything_as_it_was():
    before = NodeParameters(min_confidence=0.25)
    with pytest.raises(ValueError, match="max_depth_m"):
        parameters.updated(before, {"min_confidence": 0.5, "max_depth_m": -1.0})
    assert before.min_confidence == 0.25
    after = parameters.updated(before, {"min_confidence": 0.5, "use_sim_time": True})
    assert after == NodeParameters(min_confidence=0.5)


def test_unknown_parameter_is_named_with_the_nearest_known_one():
    lines = unknown_parameter_messages(["modell", "use_sim_time", "fov_deg", "quux"])
    assert lines == [
        "unknown parameter modell is ignored: did you mean model?",
        "unknown parameter quux is ignored; `ros2 param list` names them all",
    ]
