"""The files in config/ and launch/ are well formed and name topics that the node publishes."""

import ast
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

from rosam_depth_ros.parameters import SPECIFICATIONS

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


def launch_namespace(repository):
    """Runs the launch file's definitions without its imports of launch, which needs ROS."""
    source = (repository / "launch" / "depth.launch.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ImportFrom) and node.module.startswith("launch"))
    ]
    namespace = {"__file__": str(repository / "launch" / "depth.launch.py")}
    exec(compile(tree, "depth.launch.py", "exec"), namespace)
    return namespace


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


def test_launch_folder_is_no_package(repository):
    """An `__init__.py` there would hide ROS's own package `launch`."""
    assert not list((repository / "launch").glob("**/__init__.py"))
