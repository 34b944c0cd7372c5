"""`depth_node`: images in, metric depth and confidence out."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from rosam_core.engines.base import DepthEngine
from rosam_core.engines.registry import default_model_path, load_engine
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_depth_ros import messages
from rosam_depth_ros.camera_stream import CameraStream
from rosam_depth_ros.diagnostics import ErrorLog, RosLogHandler, status_message
from rosam_depth_ros.parameters import declare, unknown_parameter_messages, updated

MODEL_RETRY_S = 1.0
"""A model that did not load is tried again this often."""


class DepthNode(Node):
    """Callbacks put the newest frame of each camera into a slot; one worker thread empties them.

    The executor's thread never runs the network, so parameters and shutdown stay prompt.
    """

    def __init__(self) -> None:
        """Declares, subscribes, advertises and starts the worker.

        Raises:
            ValueError: A parameter override has the wrong type, value or choice.
        """
        super().__init__("depth_node")
        log = self.get_logger()
        self.errors = ErrorLog(lambda text: log.error(text))
        self._parameters_now = declare(self)
        for line in unknown_parameter_messages(getattr(self, "_parameter_overrides", ())):
            log.warning(line)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._log_handler = RosLogHandler(log)
        logging.getLogger("rosam_core").addHandler(self._log_handler)
        logging.getLogger("rosam_core").setLevel(logging.INFO)

        self._arrived = threading.Condition()
        self.streams = [CameraStream(self, self._parameters_now, self._arrived)]
        self._engine: DepthEngine | None = None
        self._engine_model = ""
        self._retry_at_s = 0.0
        self._pipeline: DepthPipeline | None = None
        self._pipeline_parameters = self._parameters_now

        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady, so that a paused /clock does not silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._work, name="depth", daemon=True)
        self._worker.start()
        log.info(f"waiting for {self.streams[0].image_topic}")

    def stop(self) -> None:
        """Ends the worker after its present frame and frees the engine."""
        self._stopping.set()
        with self._arrived:
            self._arrived.notify_all()
        self._worker.join(timeout=5.0)
        logging.getLogger("rosam_core").removeHandler(self._log_handler)

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._parameters_now = updated(
                self._parameters_now, {change.name: change.value for change in changes}
            )
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._retry_at_s = 0.0
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        engine = self._engine
        for stream in self.streams:
            array.status.append(
                status_message(
                    f"{self.get_fully_qualified_name()}: {stream.image_topic}",
                    stream.statistics,
                    self.errors,
                    engine.name if engine else "",
                    self._engine_model if engine else self._parameters_now.model,
                )
            )
        self._diagnostics.publish(array)

    def _work(self) -> None:
        while not self._stopping.is_set():
            pipeline = self._current_pipeline()
            for stream in self.streams:
                with self._arrived:
                    frame = stream.take() if stream.is_ready(self._parameters_now) else None
                if frame is not None and pipeline is not None:
                    self._process(stream, pipeline, *frame)
                elif frame is not None:
                    stream.statistics.image_unused()
            with self._arrived:
                if not any(s.is_ready(self._parameters_now) for s in self.streams):
                    self._arrived.wait(timeout=0.1)
        if self._engine is not None:
            self._engine.close()

    def _current_pipeline(self) -> DepthPipeline | None:
        """Returns the pipeline of the present parameters, loading what changed."""
        wanted = self._parameters_now
        if self._pipeline is not None and wanted is self._pipeline_parameters:
            return self._pipeline
        if self._pipeline is None and time.monotonic() < self._retry_at_s:
            return None
        self._pipeline = None
        try:
            path = Path(wanted.model).expanduser() if wanted.model else default_model_path()
            if self._engine is not None and self._engine_model != str(path):
                self._engine.close()
                self._engine = None
            if self._engine is None:
                self._engine = load_engine(path, wanted.engine, wanted.threads, wanted.spinning)
                self._engine_model = str(path)
                card = self._engine.card
                self.get_logger().info(
                    f"model {card.name} ({card.input_width}x{card.input_height}) runs on "
                    f"{self._engine.name}"
                )
            self._pipeline = DepthPipeline(
                self._engine,
                resize=wanted.resize,
                output_size=wanted.output_size,
                min_confidence=wanted.min_confidence,
                max_depth_m=wanted.max_depth_m or None,
            )
            self._pipeline_parameters = wanted
        except Exception as error:  # the node outlives a bad model and tries again
            self.errors.add("model", _in_words(error))
            self._retry_at_s = time.monotonic() + MODEL_RETRY_S
        return self._pipeline

    def _process(
        self,
        stream: CameraStream,
        pipeline: DepthPipeline,
        message: messages.Image | messages.CompressedImage,
        arrived_s: float,
    ) -> None:
        parameters = self._parameters_now
        stage = "image"
        try:
            picture = messages.image_to_rgb(message)
            height, width = picture.shape[:2]
            stage = "camera"
            camera, info = stream.camera(width, height, parameters)
            stage = "inference"
            prediction = pipeline.predict(picture, camera)
            stage = "output"
            stream.publish(picture, camera, prediction, message, info, parameters)
            stream.statistics.image_out(arrived_s)
        except Exception as error:  # the node outlives every frame
            self.errors.add(stage, _in_words(error))


def _in_words(error: Exception) -> str:
    """Returns the text of an expected error; the type too of any other."""
    expected = isinstance(error, (ValueError, OSError))
    return str(error) if expected else f"{type(error).__name__}: {error}"


def _keep_freed_memory() -> None:
    """Lets glibc keep freed blocks of up to 64 MB for the next frame.

    By default every image-sized buffer is given back to the kernel and faulted in again page by
    page, which takes most of the time that filling a message does. Every arena keeps blocks of
    its own, so there are few of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent outside glibc
    if mallopt is not None:
        mallopt(-8, 2)  # M_ARENA_MAX
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, 64 << 20)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Args:
        args: Command line with `--ros-args`; the process's own if None.

    Returns:
        Exit status: 0 after a signal, 1 if a parameter is wrong.
    """
    _keep_freed_memory()
    # The worker takes a new frame while the executor still tidies up: 5 ms would be its patience.
    sys.setswitchinterval(0.0002)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    # With our own handlers the context outlives the signal: the worker ends in order, and a
    # second Ctrl-C (ros2 launch sends one more) interrupts nothing.
    rclpy.init(
        args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO
    )
    try:
        node = DepthNode()
    except (ValueError, ParameterException) as error:
        print(f"depth_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while rclpy.ok() and not ended.is_set():
        executor.spin_once(timeout_sec=0.25)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Python resets its own handlers when it ends: one more signal would kill it there.
        signal.signal(number, signal.SIG_IGN)
    node.stop()
    executor.remove_node(node)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
