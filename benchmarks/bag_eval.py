"""Where the time of `rosam bag eval` goes: decoding, the network, its pipeline, truth, scores.

    OMP_NUM_THREADS=1 python benchmarks/bag_eval.py [BAG ...] [--model M] [--least 0.8] [--all]

Scores every frame of each bag (or other drive) as `rosam bag eval` does, in one thread, and
prints, as JSON, the mean CPU time a frame of every part and their shares: the least of five passes
after a first one, so that other programs hardly change them. Without a bag it renders a small
drive with lidar and writes it as MCAP first. `decoding` is reading the bag, its image and its
scan; `engine` is the run of the network alone, `pipeline` what comes before and after it (resizing
the image, and depth and confidence back); `truth` moves the scan to the image and projects it.
`boundaries` and `flicker` are measured where depth is exact, elsewhere with `--all`. Exit status 1
if decoding and engine together take less than `--least` of the time of a bag, or flicker adds more
than a tenth to a drive with exact depth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PASSES = 5
"""How often a bag is scored; of each call the least time counts, as others disturb it least."""

FIRST = "reading"
"""What every frame begins with."""


def main() -> int:
    """Times every bag and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bags", nargs="*", type=Path)
    parser.add_argument("--model", type=Path, help="ONNX model; the packaged one by default")
    parser.add_argument("--least", type=float, default=0.8, help="share that is demanded")
    parser.add_argument(
        "--all", action="store_true", help="as with --lidar-boundaries and --flicker"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bags = args.bags or [made_up_bag(Path(scratch))]
        report = {bag.name: shares(bag, args.model, args.all) for bag in bags}
    print(json.dumps(report, indent=2))
    met = [
        r["share"]["decoding_and_engine"] >= args.least
        if r["kind"] == "bag"
        else r["flicker_adds"] <= 0.1
        for r in report.values()
    ]
    return 0 if args.all or all(met) else 1


def made_up_bag(scratch: Path) -> Path:
    """Renders a drive with lidar and returns it as a bag."""
    from rosam_core.cli import main as rosam

    drive, bag = scratch / "drive", scratch / "made_up.mcap"
    synth = ["synth", "--out", str(drive), "--drives", "1", "--frames", "20", "--lidar"]
    synth += ["--size", "640x384", "--fov", "80", "--seed", "7", "--conditions", "day-clear"]
    for command in ([*synth, "--workers", "1"], ["drive", "convert", str(drive), "-o", str(bag)]):
        sys.stdout, kept = sys.stderr, sys.stdout  # stdout is for the JSON
        try:
            if rosam(command):
                raise SystemExit(f"rosam {command[0]} failed")
        finally:
            sys.stdout = kept
    return bag


def shares(bag: Path, model: Path | None, everything: bool) -> dict[str, Any]:
    """Returns the median time a frame of every part [ms], and the shares."""
    import cv2

    from rosam_core.drives import rosbag
    from rosam_core.drives.bag_transforms import TransformTree
    from rosam_core.drives.opening import find_kind, open_drives
    from rosam_core.engines.registry import default_model_path, load_engine
    from rosam_core.evaluation import protocol, scoring
    from rosam_core.evaluation.flicker import FlickerMeter
    from rosam_core.evaluation.ground_truth import GroundTruth
    from rosam_core.evaluation.predictions import ModelPredictions, scoring_pipeline

    cv2.setNumThreads(1)  # `thread_time` sees the work of this thread only
    with contextlib.closing(load_engine(model or default_model_path(), threads=1)) as engine:
        pipeline = scoring_pipeline(engine)
        kind = find_kind(bag)
        drives = open_drives(bag, kind)

        def score() -> int:
            """Scores the bag, returns the number of frames."""
            found = protocol.score_drives(
                ModelPredictions(pipeline),
                bag,
                kind=kind,
                drives=drives,
                lidar_boundaries=everything,
                flicker=everything,
            )
            return len(found.scores)

        frames = score()  # the first time is slow: modules are imported, memory is taken
        clock = _Clock()
        clock.time("engine", engine, "infer")
        clock.time("predict", pipeline, "predict")
        for drive in {type(drive) for drive in drives}:
            clock.time(FIRST, drive, "__getitem__")
        for function in ("moved", "moved_sweep"):
            clock.time("motion", rosbag, function)
        clock.time("motion", TransformTree, "lookup")
        clock.time("truth", GroundTruth, "of")
        clock.time("score", protocol, "score_image")
        clock.time("boundaries", scoring, "boundary_scores")
        clock.time("flicker", FlickerMeter, "of")
        try:
            passes = [clock.of(score) for _ in range(PASSES)]
        finally:
            clock.restore()
    ms = {
        name: 1e3 * float(np.min([one[name] for one in passes], axis=0).sum()) / frames
        for name in passes[0]
    }
    whole = ms.pop("whole")
    ms["decoding"] = ms.pop(FIRST) - ms["motion"]
    ms["truth"] += ms.pop("motion")
    ms["pipeline"] = ms.pop("predict") - ms["engine"]
    ms["score"] -= ms["boundaries"]
    ms["rest"] = whole - sum(ms.values())
    return {
        "kind": kind,
        "frames": frames,
        "cpu_ms_a_frame": round(whole, 2),
        "ms": {name: round(value, 2) for name, value in sorted(ms.items())},
        "flicker_adds": round(ms["flicker"] / (whole - ms["flicker"]), 3),
        "share": {
            "decoding_and_engine": round((ms["decoding"] + ms["engine"]) / whole, 3),
            "all_three": round((ms["decoding"] + ms["engine"] + ms["pipeline"]) / whole, 3),
        },
    }


class _Clock:
    """Times calls of functions by replacing them."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._begins: list[float] = []
        self._replaced: list[tuple[Any, str, Any]] = []

    def time(self, name: str, owner: Any, attribute: str) -> None:
        """Times every call of an attribute of an object, class or module."""
        function: Callable[..., Any] = getattr(owner, attribute)
        self._times.setdefault(name, [])

        def timed(*args: Any, **options: Any) -> Any:
            start = time.thread_time()
            if name == FIRST:
                self._begins.append(start)
            try:
                return function(*args, **options)
            finally:
                self._times[name].append(time.thread_time() - start)

        self._replaced.append((owner, attribute, function))
        setattr(owner, attribute, timed)

    def of(self, function: Callable[[], object]) -> dict[str, list[float]]:
        """Returns the times of all calls in one call of a function, `whole` of its frames [s]."""
        for times in (self._begins, *self._times.values()):
            times.clear()
        function()
        whole = np.diff([*self._begins, time.thread_time()]).tolist()
        return {"whole": whole} | {name: list(times) for name, times in self._times.items()}

    def restore(self) -> None:
        """Puts everything back."""
        for owner, attribute, function in reversed(self._replaced):
            setattr(owner, attribute, function)


if __name__ == "__main__":
    sys.exit(main())
