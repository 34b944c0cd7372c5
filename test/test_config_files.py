"""The files in config/ and launch/ are well formed and name topics that the node publishes."""

import ast
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from bag_samples import write_camera_bag

from rosam_depth_ros.parameters import SPECIFICATIONS

IMAGE = "/front/image_raw"
OUTPUTS = {
    "/depth/image",
    "/depth/camera_info",
    "/confidence/image",
    "/confidence/camera_info",
    "/depth/image_color",
    "/points",
    "/diagnostics",
}


def test_fast_dds_profile_has_room_for_images_and_keeps_udp(repository):
    root = ElementTree.parse(repository / "config" / "fastdds_shm.xml").getroot()
    space = {"d": root.tag[1:].split("}")[0]}
    kinds = {
        d.find("d:type", space).text: d for d in root.iter(f"{{{space['d']}}}transport_descriptor")
    }
    assert set(kinds) == {"SHM", "UDPv4"}
    assert int(kinds["SHM"].find("d:segment_size", space).text) == 64 << 20
    used = [e.text for e in root.findall(".//d:userTransports/d:transport_id", space)]
    assert used == [k.find("d:transport_id", space).text for k in kinds.values()]
    participant = root.find("d:participant", space)
    assert participant.get("is_default_profile") == "true"
    assert participant.find(".//d:useBuiltinTransports", space).text == "false"


def test_rviz_shows_topics_of_the_node(repository):
    layout = yaml.safe_load((repository / "config" / "depth.rviz").read_text(encoding="utf-8"))
    displays = layout["Visualization Manager"]["Displays"]
    topics = {d["Topic"]["Value"] for d in displays if "Topic" in d}
    assert topics == {"/depth/image_color", "/confidence/image", "/points"}


def test_foxglove_shows_topics_of_the_node(repository):
    text = (repository / "config" / "foxglove_layout.json").read_text(encoding="utf-8")
    layout = json.loads(text)
    named = set(re.findall(r'"(/[a-z_/]+)"', text))
    assert named
    assert named <= OUTPUTS

    def panels(node):
        return [node] if isinstance(node, str) else panels(node["first"]) + panels(node["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])


class Configuration:
    """Stands in for LaunchConfiguration: the context is the dictionary of the values."""

    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context[self.name]


def recorded(*arguments, **named):
    """Stands in for an action: what it is made of."""
    return {"": arguments, **named}


def launch_namespace(repository, name="depth.launch.py"):
    """Runs a launch file's definitions with stand-ins for what it imports of launch, for ROS."""
    path = repository / "launch" / name
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ImportFrom) and node.module.startswith("launch"))
    ]
    actions = ("IncludeLaunchDescription", "PythonLaunchDescriptionSource", "Node", "Shutdown")
    actions += ("RegisterEventHandler", "OnProcessExit", "SetEnvironmentVariable")
    actions += ("ExecuteProcess", "ExecutableInPackage")
    namespace = dict.fromkeys(actions, recorded)
    namespace |= {"__file__": str(path), "LaunchConfiguration": Configuration}
    exec(compile(tree, name, "exec"), namespace)
    return namespace


def started(namespace, /, **given):
    """The actions of a launch file, and those of them that are nodes."""
    values = {name: default for name, (default, _) in namespace["ARGUMENTS"].items()}
    assert set(given) <= set(values)
    actions = namespace["start"]({**values, **given})
    return actions, [action for action in actions if "executable" in action]


def test_every_launch_argument_is_described_and_every_node_argument_is_a_parameter(repository):
    namespace = launch_namespace(repository)
    for name, (default, description) in namespace["ARGUMENTS"].items():
        assert isinstance(default, str), name
        assert description.endswith("."), name
    for name, kind in namespace["NODE_PARAMETERS"].items():
        default = SPECIFICATIONS[name].default
        meant = kind(namespace["ARGUMENTS"][name][0] or "")
        assert type(meant) is type(default)
        assert meant == default


@pytest.mark.parametrize(
    ("image", "camera_info"),
    [
        ("image", "camera_info"),
        ("/camera/image_raw", "/camera/camera_info"),
        ("/front/image_raw/compressed", "/front/camera_info"),
        ("/image", "/camera_info"),
    ],
)
def test_camera_info_is_expected_beside_the_image(repository, image, camera_info):
    assert launch_namespace(repository)["beside"](image) == camera_info


def test_each_camera_has_its_topics_under_its_name(repository):
    remappings = launch_namespace(repository)["remappings"]
    several = {"cameras": "front, left", "image": "/{camera}/image_raw", "camera_info": ""}
    assert remappings(several) == [
        ("front/image", "/front/image_raw"),
        ("front/camera_info", "/front/camera_info"),
        ("left/image", "/left/image_raw"),
        ("left/camera_info", "/left/camera_info"),
    ]
    assert remappings({"cameras": "", "image": "/a/image", "camera_info": "/b"}) == [
        ("image", "/a/image"),
        ("camera_info", "/b"),
    ]
    for cameras, image in (("front,left", "/image"), ("", "/{camera}/image")):
        with pytest.raises(ValueError, match=r"several cameras need \{camera\} in image"):
            remappings({"cameras": cameras, "image": image, "camera_info": ""})


def test_the_params_file_decides_about_what_is_not_given(repository, tmp_path):
    namespace = launch_namespace(repository)
    file = tmp_path / "p.yaml"
    file.write_text("/**: {ros__parameters: {threads: 1}}")
    (node,) = started(namespace)[1]
    assert node["parameters"] == []
    given = {"threads": "2", "fov_deg": "60", "build_engine": "true", "engine": "openvino"}
    (node,) = started(namespace, params_file=str(file), image="/a/image", **given)[1]
    meant = {"threads": 2, "fov_deg": 60.0, "build_engine": True, "engine": "openvino"}
    assert node["parameters"] == [str(file), meant]
    assert node["remappings"] == [("image", "/a/image"), ("camera_info", "/a/camera_info")]
    (node,) = started(namespace, params_file=str(file))[1]
    assert node["parameters"] == [str(file)]
    with pytest.raises(ValueError, match=r"params_file:=absent\.yaml cannot be read"):
        started(namespace, params_file="absent.yaml")


PARAMS = """
/**:
  ros__parameters: {model: all.onnx, cameras: "front, left"}
other_node:
  ros__parameters: {model: other.onnx}
depth_node:
  ros__parameters: {build_options: --precision fp32}
robot:
  depth_node:
    ros__parameters: {model: robot.onnx, build_options: --precision int8}
/*/rear_node:
  ros__parameters: {model: rear.onnx, cameras: ""}
"""


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, "all.onnx --batch 1,2 --precision fp32"),
        ({"model": "given.onnx"}, "given.onnx --batch 1,2 --precision fp32"),
        ({"cameras": "a,b,c"}, "all.onnx --batch 1,3 --precision fp32"),
        ({"build_options": "--precision fp16"}, "all.onnx --batch 1,2 --precision fp16"),
        ({"namespace": "/robot/"}, "robot.onnx --batch 1,2 --precision int8"),
        ({"namespace": "robot", "name": "rear_node"}, "rear.onnx --batch 1"),
        ({"name": "rear_node"}, "all.onnx --batch 1,2"),
    ],
)
def test_only_what_the_params_file_says_is_built(repository, tmp_path, given, command):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    namespace = launch_namespace(repository)
    actions = started(namespace, build_only="true", params_file=str(path), **given)[0]
    assert actions[-1]["cmd"][1:] == ["engine", "build", *command.split()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: .*No such file"),
        ("a: [", "cannot be read: while parsing"),
        ("", "has no ros__parameters"),
        ("model: a.onnx", "has no ros__parameters"),
        ("/**: {ros__parameters: {cameras: [a, b]}}", "cameras in .*params.yaml is no text"),
    ],
)
def test_no_engine_is_built_from_a_params_file_that_is_none(repository, tmp_path, text, words):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        started(launch_namespace(repository), build_only="true", params_file=str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_the_replay_passes_on_what_it_is_given(repository, tmp_path):
    namespace = launch_namespace(repository, "replay.launch.py")
    write_camera_bag(tmp_path / "drive.mcap")
    given = {"image": IMAGE, "model": "m.onnx", "engine": "openvino", "threads": "3"}
    given |= {"fov_deg": "70", "camera_file": "c.yaml", "rate": "0.5", "lockstep": "True"}
    given |= {"camera_height_m": "1.2", "camera_pitch_deg": "4"}
    given |= {"condition": "night,fog", "statistics_file": "s.json", "wait_s": "7"}
    bag = str(tmp_path / "drive.mcap")
    actions, (replay,) = started(namespace, bag=bag, **given)
    assert replay["parameters"] == [
        {
            "source": bag,
            "image_topic": IMAGE,
            "rate": 0.5,
            "lockstep": True,
            "wait_s": 7.0,
            "condition": "night,fog",
            "statistics_file": "s.json",
        }
    ]
    (depth,) = (action for action in actions if "launch_arguments" in action)
    folder = IMAGE.rpartition("/")[0]
    passed = {name: given[name] for name in ("model", "engine", "threads", "fov_deg")}
    passed |= {"camera_height_m": "1.2", "camera_pitch_deg": "4"}
    passed |= {"camera_file": "c.yaml", "image": IMAGE, "camera_info": f"{folder}/camera_info"}
    assert dict(depth["launch_arguments"]) == {**passed, "namespace": folder}
    known = launch_namespace(repository)["ARGUMENTS"]
    for name in namespace["PASSED_ON"]:
        assert known[name][0] == namespace["ARGUMENTS"][name][0]


@pytest.mark.parametrize("name", ["depth.launch.py", "replay.launch.py"])
def test_what_is_neither_true_nor_false_is_refused(repository, name):
    namespace = launch_namespace(repository, name)
    assert [namespace["is_true"](text) for text in ("true", "False")] == [True, False]
    with pytest.raises(ValueError, match="expected true or false, got 'on'"):
        namespace["is_true"]("on")


def test_launch_folder_is_no_package(repository):
    """An `__init__.py` there would hide ROS's own package `launch`."""
    assert not list((repository / "launch").glob("**/__init__.py"))
