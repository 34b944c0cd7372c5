"""Rates, latencies and throttled errors, on a clock that the test moves."""

import time

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="no ROS 2: source one, or pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticStatus

from rosam_depth_ros.diagnostics import (
    MAX_KINDS,
    EngineStatus,
    ErrorLog,
    StreamStatistics,
    status_message,
)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_each_kind_is_logged_at_once_and_then_every_five_seconds():
    clock, lines = Clock(), []
    errors = ErrorLog(lines.append, clock)
    for _ in range(3):
        errors.add("image", "truncated: 10 bytes; expected 20")
    errors.add("image", "truncated: 11.5 bytes; expected 20")  # the same kind, other numbers
    errors.add("image", "unknown encoding 'x'")
    errors.add("camera", "truncated: 10 bytes; expected 20")
    assert lines == [
        "image: truncated: 10 bytes; expected 20",
        "image: unknown encoding 'x'",
        "camera: truncated: 10 bytes; expected 20",
    ]
    clock.now += 4.9
    errors.add("image", "truncated: 1 bytes; expected 20")
    assert len(lines) == 3
    clock.now += 0.2
    errors.add("image", "truncated: 2 bytes; expected 20")
    assert lines[3:] == ["image: truncated: 2 bytes; expected 20 (4 more like it)"]
    assert errors.counts == {"image": 7, "camera": 1}
    assert errors.last_text == "image: truncated: 2 bytes; expected 20"


def test_invented_kinds_do_not_flood_the_log():
    lines = []
    errors = ErrorLog(lines.append, Clock())
    for index in range(1000):
        letters = "".join(chr(97 + int(digit)) for digit in str(index))
        errors.add("image", f"unknown encoding {letters}")
    assert len(lines) == MAX_KINDS + 1
    assert errors.counts["image"] == 1000


def test_an_error_takes_one_line_whatever_its_text():
    lines = []
    errors = ErrorLog(lines.append, Clock())
    errors.add("inference", RuntimeError("first\n  second"))
    errors.add("output", KeyError())
    assert lines == ["inference: first second", "output: KeyError"]


def test_rates_are_of_the_last_interval_and_latency_of_what_was_published():
    clock = Clock()
    statistics = StreamStatistics(clock)
    for index in range(20):
        arrived = clock.now
        statistics.image_in(int(index == 3))
        clock.now += 0.010 if index < 19 else 0.100
        if index % 2:
            statistics.image_out(arrived)
    statistics.image_unused()
    figures = statistics.figures()
    assert (figures["images_in"], figures["images_out"], figures["dropped"]) == ("20", "10", "2")
    assert float(figures["fps_in"]) == pytest.approx(20 / 0.29, abs=0.01)
    assert float(figures["fps_out"]) == pytest.approx(10 / 0.29, abs=0.01)
    assert float(figures["latency_ms_p50"]) == pytest.approx(10.0)
    assert float(figures["latency_ms_p95"]) == pytest.approx(100.0)
    clock.now += 1.0
    assert statistics.figures()["fps_in"] == "0.00"


def test_status_is_error_warning_or_ok():
    statistics = StreamStatistics()
    errors, shared = ErrorLog(lambda _: None), ErrorLog(lambda _: None)

    running = EngineStatus("onnx-cpu", "m.onnx", "asked for")

    def status(engine=running):
        made = status_message("node", statistics, (errors, shared), engine)
        return made.level, made.message

    assert status(EngineStatus(model="m.onnx")) == (DiagnosticStatus.ERROR, "loading model")
    assert status() == (DiagnosticStatus.WARN, "no image arrives")
    statistics.image_in(0)
    statistics.image_out(time.monotonic())
    assert status() == (DiagnosticStatus.OK, "publishing depth")
    errors.add("image", "broken")
    assert status() == (DiagnosticStatus.ERROR, "image: broken")
    statistics.image_out(time.monotonic())
    assert status() == (DiagnosticStatus.OK, "publishing depth")
    shared.add("inference", "out of memory")
    assert status() == (DiagnosticStatus.ERROR, "inference: out of memory")
    statistics.image_out(time.monotonic())
    another = EngineStatus("onnx-cpu", "m.onnx", "openvino does not load: no such package", True)
    assert status(another) == (
        DiagnosticStatus.WARN,
        "publishing depth with onnx-cpu: openvino does not load: no such package",
    )
    values = {
        p.key: p.value
        for p in status_message("node", statistics, (errors, shared), another).values
    }
    assert (values["errors_image"], values["errors_inference"]) == ("1", "1")
    assert values["last_error"] == "inference: out of memory"
    assert (values["engine"], values["model"]) == ("onnx-cpu", "m.onnx")
    assert values["engine_reason"] == "openvino does not load: no such package"
