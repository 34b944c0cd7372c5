"""The benchmarks of the node run and report what they claim; their figures are not judged."""

import json
import subprocess
import sys

import pytest
from support import write_tiny_model

pytestmark = [pytest.mark.ros, pytest.mark.slow]
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")
pytest.importorskip("onnx", reason="onnx makes the tiny model: extra dev")


def run(repository, script, *options):
    command = [sys.executable, f"benchmarks/{script}", *options]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith("{"), done.stderr[-3000:]
    return json.loads(done.stdout)


def test_latency(repository, tmp_path):
    model = write_tiny_model(tmp_path)
    options = ["--jpeg", "--seconds", "1", "--rate", "10", "--size", "320x240", "--threads", "1"]
    report = run(repository, "node_latency.py", "--model", str(model), *options)
    assert (report["depth"]["sent"], report["echo"]["sent"]) == (10, 10)
    assert report["depth"]["lost"] < 10
    assert report["foreign_stamps"] == 0
    assert report["node_exit_status"] == 0
    medians = {name: report[name]["median_ms"] for name in ("depth", "echo", "engine")}
    assert all(value > 0 for value in medians.values())
    target = medians["echo"] + 1.25 * medians["engine"] + 2
    assert report["target_ms"] == pytest.approx(target, abs=0.02)


def test_soak(repository, tmp_path):
    model = write_tiny_model(tmp_path)
    options = ["--minutes", "0.05", "--rate", "10", "--size", "320x240", "--threads", "1"]
    report = run(repository, "soak.py", "--model", str(model), *options)
    assert report["images_sent"] == 30
    assert 0 < report["depth_received"] <= 30
    assert report["node_exit_status"] == 0
    assert len(report["samples"]) >= 2
    for _, resident, anonymous, shared in report["samples"]:
        assert 20 < resident < 2000
        assert 0 < anonymous + shared <= resident + 0.2


def test_engine_swap(repository, tmp_path):
    pytest.importorskip("openvino", reason="no OpenVINO: pip install '.[openvino]'")
    model = write_tiny_model(tmp_path)
    options = ["--seconds", "4", "--every", "2", "--size", "320x240", "--threads", "1"]
    report = run(repository, "engine_swap.py", "--model", str(model), "--rate", "20", *options)
    assert report["changes"] == report["changes_asked"] >= 1
    assert (report["repeated"], report["foreign"], report["refused"]) == (0, 0, [])
    assert report["in_order"]
    assert report["lost"] <= report["sent"] / 2
    assert 0 < report["sent_while_changing"] < report["sent"]
    assert report["node_exit_status"] == 0
