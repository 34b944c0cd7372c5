"""The package installs the same way through pip and colcon, and stays light on a robot."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

EXECUTABLES = ("depth_node", "replay_node", "rosam")
FOREIGN_ON_PYPI = {"launch", "launch-ros", "launch-pytest", "cv-bridge"}
PYTHONS = ("3.10", "3.11", "3.12")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks or would track: no build folders, no environments."""
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    copy = tmp_path_factory.mktemp("source") / "rosam_depth_ros"
    for name in filter(None, listed):
        if (repository / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def requirements(wheel: zipfile.ZipFile) -> list[Requirement]:
    metadata = next(name for name in wheel.namelist() if name.endswith("dist-info/METADATA"))
    parsed = Parser().parsestr(wheel.read(metadata).decode())
    assert parsed["Name"].replace("-", "_") == "rosam_depth_ros"
    assert parsed["Requires-Python"] == ">=3.10"
    return [Requirement(text) for text in parsed.get_all("Requires-Dist")]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _constraints(repository: Path) -> dict[str, list[Requirement]]:
    by_name: dict[str, list[Requirement]] = {}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            by_name.setdefault(_canonical(requirement.name), []).append(requirement)
    return by_name


def _pins(repository: Path, name: str, python: str) -> list[str]:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return [
        str(requirement.specifier).removeprefix("==")
        for requirement in _constraints(repository).get(_canonical(name), [])
        if requirement.marker is None or requirement.marker.evaluate(environment)
    ]


def test_package_xml_declares_what_the_nodes_import(repository: Path) -> None:
    catkin_package = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg: extra dev")
    package = catkin_package.parse_package(str(repository / "package.xml"))
    assert package.name == "rosam_depth_ros"
    assert package.version == "0.1.0"
    assert package.licenses == ["Apache-2.0"]
    assert package.get_build_type() == "ament_python"
    runtime = {str(dependency) for dependency in package.exec_depends}
    assert runtime >= {
        *("rclpy", "sensor_msgs", "diagnostic_msgs", "rosgraph_msgs", "cv_bridge"),
        *("launch", "launch_ros"),
    }
    assert "launch_pytest" in {str(dependency) for dependency in package.test_depends}


def test_package_xml_and_wheel_agree_on_the_version(
    repository: Path, wheel: zipfile.ZipFile
) -> None:
    declared = re.search(r"<version>(.*)</version>", (repository / "package.xml").read_text())
    assert declared is not None
    assert Path(wheel.filename or "").name.startswith(f"rosam_depth_ros-{declared[1]}-")


def test_wheel_holds_every_file_of_the_packages_and_no_other(
    source: Path, wheel: zipfile.ZipFile
) -> None:
    tracked = {
        path.relative_to(source).as_posix()
        for package in ("rosam_core", "rosam_depth_ros")
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    packed = {
        name for name in wheel.namelist() if not re.search(r"^[^/]*\.(dist-info|data)/", name)
    }
    assert packed == tracked, "list every package and every kind of data file in setup.py"


def test_wheel_installs_what_ros_looks_for(source: Path, wheel: zipfile.ZipFile) -> None:
    data = {
        info.filename.split(".data/data/")[1]: info
        for info in wheel.infolist()
        if ".data/data/" in info.filename
    }
    assert "share/ament_index/resource_index/packages/rosam_depth_ros" in data
    assert "share/rosam_depth_ros/package.xml" in data
    for path in (source / "launch").glob("*.launch.py"):
        assert f"share/rosam_depth_ros/launch/{path.name}" in data
    for path in (source / "config").glob("*.*"):
        assert f"share/rosam_depth_ros/config/{path.name}" in data
    for name in EXECUTABLES:
        mode = data[f"lib/rosam_depth_ros/{name}"].external_attr >> 16
        assert stat.S_IMODE(mode) == 0o755, "ros2 launch skips files that are not executable"


def test_a_robot_installs_no_torch(requirements: list[Requirement]) -> None:
    always = {_canonical(r.name) for r in requirements if r.marker is None}
    assert "onnxruntime" in always
    assert not always & {"torch", "lightning", "onnx", "tensorboard", "torchvision"}


def test_no_requirement_is_a_namesake_on_pypi(
    repository: Path, requirements: list[Requirement]
) -> None:
    assert not {_canonical(r.name) for r in requirements} & FOREIGN_ON_PYPI
    assert not set(_constraints(repository)) & FOREIGN_ON_PYPI


def test_extras_are_the_documented_ones(requirements: list[Requirement]) -> None:
    named = {
        match[1]
        for r in requirements
        if (match := re.search(r'extra == "([\w-]+)"', str(r.marker)))
    }
    assert named == {"ros", "train", "sam", "quantize", "openvino"} | {
        *("tensorrt", "tensorrt-rtx", "test", "dev")
    }


def test_advice_to_install_is_for_a_checkout_and_names_extras_that_there_are(
    repository: Path,
) -> None:
    """`pip install rosam_depth_ros[train]` finds nothing: no package index has that name."""
    setup = (repository / "setup.py").read_text(encoding="utf-8")
    extras = set(re.findall(r'^        "([\w-]+)": \[', setup, re.M))
    named = set()
    for folder in ("rosam_core", "rosam_depth_ros", "launch", "scripts", "docs", "training"):
        for path in (repository / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".yaml", ".sh"):
                text = path.read_text(encoding="utf-8")
                assert "rosam_depth_ros[" not in text, path
                named |= set(",".join(re.findall(r"'\.\[([\w,-]+)\]'", text)).split(",")) - {""}
    assert {"train", "sam", "quantize", "openvino", "tensorrt"} <= named <= extras


@pytest.mark.parametrize("python", [*PYTHONS, "3.13"])
def test_constraints_pin_each_requirement_once(
    repository: Path, requirements: list[Requirement], python: str
) -> None:
    optional = re.compile(r'extra == "(sam|openvino|tensorrt)"')
    for requirement in requirements:
        if optional.search(str(requirement.marker)):
            continue
        pins = _pins(repository, requirement.name, python)
        assert len(pins) == 1, f"{requirement.name} on Python {python}: {pins}"
        assert requirement.specifier.contains(pins[0]), f"{requirement} excludes {pins[0]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_match_what_ros_ships(repository: Path, python: str) -> None:
    assert _pins(repository, "numpy", python) == ["1.26.4"]
    (opencv,) = _pins(repository, "opencv-python-headless", python)
    assert int(opencv.split(".")[0]) < 5
    assert _pins(repository, "torch", python) == ["2.13.0"]


def test_launch_folders_are_no_packages(repository: Path) -> None:
    # An __init__.py would make `import launch` find this folder instead of ROS's own launch.
    for folder in ("launch", "test/launch", "test"):
        assert not (repository / folder / "__init__.py").exists()


def test_launch_tests_skip_by_launch_pytest(repository: Path) -> None:
    # `import launch` succeeds anywhere: the folder launch/ is an empty namespace package.
    files = sorted((repository / "test" / "launch").glob("test_*.py"))
    assert files
    for path in files:
        lines = path.read_text().splitlines()
        guard = next(n for n, line in enumerate(lines) if "importorskip(" in line)
        assert "importorskip('launch_pytest'" in lines[guard].replace('"', "'")
        uses = [n for n, line in enumerate(lines) if re.match(r"(from|import) (launch|ros)", line)]
        assert not uses or min(uses) > guard, f"{path.name} imports launch before the guard"


def _environment(prefix: Path) -> dict[str, str]:
    """The environment of a person who uses `prefix`, with this Python and its packages."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join(_of_others(os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    prefixes = os.pathsep.join([str(prefix), os.environ.get("AMENT_PREFIX_PATH", "")])
    named = {"PATH": path, "PYTHONPATH": python_path, "AMENT_PREFIX_PATH": prefixes}
    return {**os.environ, **named}


def _of_others(paths: list[str]) -> list[str]:
    """Leaves out where this package is installed already, as under `colcon test`."""
    return [path for path in paths if path and not (Path(path) / "rosam_core").exists()]


def _check_imports_from(prefix: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["python3", "-c", "import rosam_core; print(rosam_core.__file__)"],
        env=environment,
        cwd=prefix,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(prefix), "another copy is imported"


def _check_installed(prefix: Path, environment: dict[str, str]) -> None:
    """Checks that the node under `prefix` is found, runs, and ends cleanly on SIGTERM."""
    assert (prefix / "share/ament_index/resource_index/packages/rosam_depth_ros").is_file()
    assert (prefix / "share/rosam_depth_ros/launch/depth.launch.py").is_file()
    for name in EXECUTABLES:
        assert os.access(prefix / "lib/rosam_depth_ros" / name, os.X_OK)
    _check_imports_from(prefix, environment)
    pytest.importorskip("rclpy", reason="the installed node is not run: no ROS 2")
    decoy = prefix / "elsewhere" / "rosam_depth_ros"  # must not be imported from where one stands
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise SystemExit('imported from the working folder')")
    log = prefix / "log.txt"
    with log.open("w") as stream:
        node = subprocess.Popen(
            [str(prefix / "lib/rosam_depth_ros/depth_node")],
            env=environment,
            cwd=decoy.parent,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + 60
        while "waiting for /image" not in log.read_text():
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        node.send_signal(signal.SIGTERM)
        assert node.wait(timeout=20) == 0, log.read_text()
    finally:
        node.kill()


@pytest.mark.slow
def test_pip_install_gives_a_node_that_runs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    prefix = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
    environment = _environment(prefix)
    environment["PATH"] = os.pathsep.join([str(prefix / "bin"), environment["PATH"]])
    done = subprocess.run(
        [str(prefix / "bin/python"), "-m", "pip", "install", "--no-deps", str(wheel.filename)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The dependencies are borrowed from the environment that runs this test.
    site = next((prefix / "lib").glob("python*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    done = subprocess.run(
        [str(prefix / "bin/rosam"), "--help"],
        env=environment,
        cwd=prefix,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "depth for every camera of a ROS 1 or ROS 2 bag" in done.stdout
    _check_installed(prefix, environment)


@pytest.mark.slow
def test_colcon_build_gives_a_node_that_runs(source: Path, tmp_path: Path) -> None:
    if shutil.which("colcon", path=_environment(tmp_path)["PATH"]) is None:
        pytest.skip("colcon is not installed: it comes with the extra dev")
    shutil.copytree(
        source,
        tmp_path / "src" / "rosam_depth_ros",
        ignore=shutil.ignore_patterns("build", "*.egg-info"),
    )
    built = subprocess.run(
        ["colcon", "build"],
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    prefix = tmp_path / "install" / "rosam_depth_ros"
    sourced = subprocess.run(
        ["bash", "-c", ". install/local_setup.bash && rosam --help >&2 && env -0"],
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert sourced.returncode == 0, sourced.stderr
    environment = dict(pair.split("=", 1) for pair in sourced.stdout.split("\0") if "=" in pair)
    assert str(prefix) in environment["AMENT_PREFIX_PATH"]
    _check_installed(prefix, environment)


def test_the_packaged_model_does_not_say_where_it_was_made(repository: Path) -> None:
    packaged = (repository / "rosam_core" / "weights" / "rosam_light.onnx").read_bytes()
    assert b"rosam_core/export.py" not in packaged
