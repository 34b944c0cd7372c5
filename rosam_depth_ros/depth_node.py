"""`depth_node`: images in, metric depth and confidence out."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from rosam_core.runtime.pipeline import DepthPipeline
from rosam_depth_ros import messages
from rosam_depth_ros.camera_set import IDLE_S, camera_names, patience_s
from rosam_depth_ros.camera_stream import CameraStream
from rosam_depth_ros.diagnostics import (
    ErrorLog,
    RosLogHandler,
    in_words,
    status_message,
)
from rosam_depth_ros.engine_builder import split_options
from rosam_depth_ros.engine_swap import EngineRequest, EngineSwap
from rosam_depth_ros.parameters import NodeParameters, declare, unknown_parameter_messages, updated

Frame = tuple[CameraStream, "messages.Image | messages.CompressedImage", float]
"""A camera, its message and when that arrived [s]."""

KEEP_S = 1.0
"""So long after a change of engines has begun or ended no frame gives way to a newer one."""

ENGINE_PARAMETERS = {"model", "engine", "build_engine"}
"""Setting one of these tries again what failed."""


class DepthNode(Node):
    """Callbacks keep the newest frame of each camera; one worker thread runs them.

    Where the network is quicker than the camera, frames of a short stall wait in line instead. The
    executor's thread never runs the network, so parameters and shutdown stay prompt.
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
        self._engines = EngineSwap(self.errors, lambda text: log.info(text), self._wake)
        self._pipeline: DepthPipeline | None = None
        self._settings: dict[str, Any] = {}  # of the pipeline
        now = self._parameters_now
        EngineRequest.of(now), split_options(now.build_options)  # what cannot be read ends it here
        self.streams = [
            CameraStream(self, now, self._arrived, name) for name in camera_names(now.cameras)
        ]

        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady, so that a paused /clock does not silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._work, name="depth", daemon=True)
        self._worker.start()
        log.info(f"waiting for {', '.join(stream.image_topic for stream in self.streams)}")

    def stop(self) -> None:
        """Ends the worker after its present frame and frees the engine."""
        self._stopping.set()
        self._wake()
        self._worker.join(timeout=5.0)
        logging.getLogger("rosam_core").removeHandler(self._log_handler)

    def _wake(self) -> None:
        with self._arrived:
            self._arrived.notify_all()

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._parameters_now = updated(
                self._parameters_now, {change.name: change.value for change in changes}
            )
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if any(change.name in ENGINE_PARAMETERS for change in changes):
            self._engines.retry()
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        engine = self._engines.status(self._parameters_now)
        for stream in self.streams:
            array.status.append(
                status_message(
                    f"{self.get_fully_qualified_name()}: {stream.image_topic}",
                    stream.statistics,
                    (stream.errors, self.errors),
                    engine,
                    stream.ground_values(),
                )
            )
        self._diagnostics.publish(array)

    def _work(self) -> None:
        while not self._stopping.is_set():
            pipeline = self._current_pipeline()
            is_loading = self._engines.is_loading
            is_coming = pipeline is None and is_loading
            frames: list[Frame] = []
            with self._arrived:
                if is_loading and not is_coming:
                    for stream in self.streams:
                        stream.keep_frames(KEEP_S)
                wait_s = IDLE_S if is_coming else patience_s(self.streams, self._parameters_now)
                if wait_s > 0:
                    self._arrived.wait(wait_s)
                else:
                    ready = [s for s in self.streams if s.is_ready(self._parameters_now)]
                    frames = [(stream, *stream.take()) for stream in ready]
            if frames and pipeline is not None:
                self._process(frames, pipeline)
            else:
                for stream, *_ in frames:
                    stream.statistics.image_unused()
        self._engines.close()

    def _current_pipeline(self) -> DepthPipeline | None:
        """Returns the pipeline of the present parameters, with the engine of this moment."""
        wanted, pipeline = self._parameters_now, self._pipeline
        try:
            engine = self._engines.engine(wanted)
            if engine is None:
                return None
            settings = _pipeline_settings(wanted)
            if pipeline is None or pipeline.engine is not engine or settings != self._settings:
                self._pipeline = DepthPipeline(engine, **settings)
                self._settings = settings
        except Exception as error:  # the node outlives it and tries again
            self.errors.add("model", in_words(error))
            return None
        return self._pipeline

    def _process(self, frames: list[Frame], pipeline: DepthPipeline) -> None:
        """Runs the frames through the network at once; a fault of one is its own."""
        started = time.monotonic()
        parameters = self._parameters_now
        inputs = []
        for frame in frames:
            stream, message, _ = frame
            stage = "image"
            try:
                picture = messages.image_to_rgb(message)
                stage = "camera"
                camera, info = stream.camera(picture.shape[1], picture.shape[0], parameters)
                inputs.append((frame, picture, camera, info))
            except Exception as error:  # the node outlives every frame
                stream.errors.add(stage, in_words(error))
        try:
            mountings = [frame[0].mounting(parameters) for frame, *_ in inputs]
            predictions = pipeline.predict_batch(
                [i[1] for i in inputs], [i[2] for i in inputs], mountings
            )
        except Exception as error:
            self.errors.add("inference", in_words(error))
            return
        for (frame, picture, camera, info), prediction in zip(inputs, predictions, strict=True):
            stream, message, arrived_s = frame
            try:
                stream.publish(picture, camera, prediction, message, info, parameters)
                stream.statistics.image_out(arrived_s)
            except Exception as error:
                stream.errors.add("output", in_words(error))
        for stream, *_ in frames:
            stream.pace.ran(time.monotonic() - started)


def _pipeline_settings(parameters: NodeParameters) -> dict[str, Any]:
    """Returns what a pipeline is told; as long as that stays, so do its buffers."""
    return {
        "resize": parameters.resize,
        "output_size": parameters.output_size,
        "min_confidence": parameters.min_confidence,
        "max_depth_m": parameters.max_depth_m or None,
    }


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
