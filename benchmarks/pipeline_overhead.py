"""What the pipeline costs beyond the bare engine, by image size; prints JSON.

python benchmarks/pipeline_overhead.py [--model model.onnx] [--threads 2]

Without --model it measures with a stand-in that answers at once, which is the overhead itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import cv2
import numpy as np

from rosam_core.engines.base import DepthEngine
from rosam_core.runtime.ground import Mounting
from rosam_core.runtime.image_codec import decode_compressed, decode_image
from rosam_core.runtime.pipeline import DepthPipeline
from rosam_core.runtime.preprocess import Resize
from rosam_core.types import Camera, Float32, ModelCard, UInt8

SIZES = ((640, 384), (1280, 720), (1600, 900))


class InstantEngine:
    """Answers with the same maps every time, so that only the pipeline is measured."""

    name = "instant"

    def __init__(self, width: int, height: int) -> None:
        """Makes the answer: depth 1 to 90 m, so that a few pixels are beyond range."""
        self.card = ModelCard(
            "instant", "none", width, height, 500.0, (100.0, 1000.0), 0.1, 80.0, True, 1.0, "", "",
            "none",
        )  # fmt: skip
        rng = np.random.default_rng(0)
        # Smooth, as depth is: masks of pure noise cost seven times as much.
        coarse = rng.uniform(0, 1, (2, 10, 18)).astype(np.float32)
        depth, confidence = (cv2.resize(one, (width, height)) for one in coarse)
        self._depth, self._confidence = 1 + 89 * depth[None], confidence[None]

    def infer(self, images: UInt8) -> tuple[Float32, Float32]:
        """Returns the stored maps."""
        return self._depth, self._confidence

    def close(self) -> None:
        """Does nothing."""


def median_ms(call: Callable[[], object], runs: int) -> float:
    """Returns the median time of a call [ms], after three to warm up."""
    times = []
    for run in range(runs + 3):
        start = time.perf_counter()
        call()
        if run >= 3:
            times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 3)


def measure(engine: DepthEngine, width: int, height: int, runs: int) -> dict[str, float]:
    """Returns the median time of each step at one image size [ms]."""
    coarse = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    raw, jpeg = image.tobytes(), cv2.imencode(".jpg", image)[1].tobytes()
    camera = Camera.from_fov(70, width, height)
    card = engine.card
    plan = Resize.plan("letterbox", width, height, card.input_width, card.input_height)
    slot = np.zeros((card.input_height, card.input_width, 3), np.uint8)
    pipeline = DepthPipeline(engine)
    confident = DepthPipeline(engine, min_confidence=0.3)
    mounting = Mounting(1.5)
    calls: dict[str, Callable[[], object]] = {
        "decode_rgb8_ms": lambda: decode_image("rgb8", width, height, 3 * width, False, raw),
        "decode_bgr8_ms": lambda: decode_image("bgr8", width, height, 3 * width, False, raw),
        "decode_jpeg_ms": lambda: decode_compressed("jpeg", jpeg),
        "preprocess_ms": lambda: plan.apply(image, slot),
        "predict_ms": lambda: pipeline.predict(image, camera),
        "predict_min_confidence_ms": lambda: confident.predict(image, camera),
        "predict_camera_height_ms": lambda: pipeline.predict(image, camera, mounting),
    }
    return {name: median_ms(call, runs) for name, call in calls.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="an ONNX model with its card; default: the stand-in")
    parser.add_argument("--threads", type=int, default=2, help="threads of engine and OpenCV")
    parser.add_argument("--runs", type=int, default=100, help="calls for each median")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    engine: DepthEngine
    if args.model:
        from rosam_core.engines.registry import load_engine

        engine = load_engine(args.model, "onnx-cpu", args.threads)
    else:
        engine = InstantEngine(576, 320)
    card = engine.card
    batch = np.zeros((1, card.input_height, card.input_width, 3), np.uint8)
    report: dict[str, object] = {
        "engine": engine.name,
        "network": f"{card.input_width}x{card.input_height}",
        "threads": args.threads,
        "engine_ms": median_ms(lambda: engine.infer(batch), args.runs),
    }
    for width, height in SIZES:
        report[f"{width}x{height}"] = measure(engine, width, height, args.runs)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
