"""Installs `rosam_depth_ros`, as a pip package and as an ament_python package alike."""

from glob import glob
from pathlib import Path

from setuptools import setup

NAME = "rosam_depth_ros"
ROOT = Path(__file__).resolve().parent  # `colcon build --symlink-install` runs a linked setup.py
SHARE = f"share/{NAME}"

setup(
    name=NAME,
    version="0.1.0",
    description="Depth and calibrated confidence for any robot camera, by day, at night, in rain",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    # Listed one by one: a search would also take launch/, and a package called `launch` would
    # hide ROS's own.
    packages=[
        "rosam_core",
        "rosam_core.commands",
        "rosam_core.drives",
        "rosam_core.drives.synthetic",
        "rosam_core.engines",
        "rosam_core.evaluation",
        "rosam_core.geometry",
        "rosam_core.losses",
        "rosam_core.methods",
        "rosam_core.models",
        "rosam_core.priors",
        "rosam_core.runtime",
        "rosam_depth_ros",
    ],
    package_data={"rosam_core": ["weights/*.onnx", "weights/*.json", "evaluation/report.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", sorted(glob("launch/*.launch.py"))),
        (f"{SHARE}/config", sorted(glob("config/*.*"))),
        # `ros2 launch` looks for executables here, and nowhere else.
        (f"lib/{NAME}", ["scripts/depth_node", "scripts/replay_node", "scripts/rosam"]),
    ],
    entry_points={"console_scripts": ["rosam = rosam_core.cli:main"]},
    # A robot installs this and an extra for its ROS; torch never comes with it.
    install_requires=[
        "numpy>=1.26",
        "onnxruntime>=1.17",
        "opencv-python-headless>=4.8,<5",
        "PyYAML>=6",
        "rosbags>=0.11.9,<0.12",
        "tqdm>=4.60",
    ],
    extras_require={
        # ROS 2 as wheels, for machines without a ROS install. Never `launch` or `cv_bridge`: on
        # PyPI these names belong to other projects.
        "ros": [
            "ros-jazzy-rclpy[fastrtps]; platform_machine == 'x86_64'",
            "ros-jazzy-sensor-msgs; platform_machine == 'x86_64'",
            "ros-jazzy-diagnostic-msgs; platform_machine == 'x86_64'",
            "ros-rosgraph-msgs; platform_machine == 'x86_64'",
        ],
        "train": [
            "lightning>=2.4",
            "matplotlib>=3.8",
            "omegaconf>=2.3",
            "onnx>=1.16",
            "onnxscript>=0.3",
            "pillow>=9.4",
            "safetensors>=0.4",
            "scikit-image>=0.22",
            "tensorboard>=2.15",
            "torch>=2.6",
        ],
        # torchvision has to be built for the torch that is there, which has an index of its own.
        "sam": ["segment-anything>=1.0", "torchvision"],
        "quantize": ["onnx>=1.16"],
        "openvino": ["openvino>=2024.4"],
        # On a Jetson TensorRT comes with JetPack, and only the other two are needed from here.
        "tensorrt": ["tensorrt>=10.3", "cuda-bindings>=12.6", "onnx>=1.16"],
        "tensorrt-rtx": ["tensorrt-rtx>=1.2", "cuda-bindings>=12.6", "onnx>=1.16"],
        "test": ["pytest>=7.4"],  # by this name `colcon test` knows to run pytest
        "dev": [
            "catkin-pkg>=1.0",
            "codespell>=2.3",
            "colcon-common-extensions>=0.3",
            "cuda-bindings>=12.6; platform_machine == 'x86_64'",
            "import-linter>=2.0",
            "matplotlib>=3.8",
            "mypy>=1.11",
            "onnx>=1.16",
            "openvino>=2024.4",
            "pytest>=7.4",
            "pytest-timeout>=2.3",
            "ruff>=0.8",
            "scikit-image>=0.22",
            "segment-anything>=1.0",
            # A real TensorRT builder that needs no GPU: 95 MB, 235 MB on disk.
            "tensorrt-rtx>=1.2; platform_machine == 'x86_64'",
        ],
    },
    zip_safe=False,
)
