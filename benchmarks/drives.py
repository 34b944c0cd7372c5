"""How fast drives open and read: frames a second by source, and nuScenes' tables at full size.

    python benchmarks/drives.py [--data ../shared/data] [--drive PATH ...] [--samples 34149]
                                [--key-frames-only]

Reads every drive named, or those of a folder of samples, with two loader processes (image, depth
and lidar decoded), and writes made-up nuScenes tables of the size of v1.0-trainval (every sensor's
key frames and sweeps, 2.6 million rows in two tables) into a scratch folder to time the first
opening, its memory and the second one. Prints JSON; exit status 1 if the index takes 20 s or more,
1.5 GB or more, or 1 s or more the second time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

WORKERS = 2
SCENE_SAMPLES = 40
SENSORS = (  # channel and images (or sweeps) between two key frames of v1.0-trainval
    *((name, 5) for name in ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT")),
    *((name, 5) for name in ("CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")),
    ("LIDAR_TOP", 9),
    *((f"RADAR_{i}", 6) for i in range(5)),
)
INDEX_S, INDEX_GB, REOPEN_S = 20.0, 1.5, 1.0
OPEN = """
import pathlib, resource, sys, time
from rosam_core.drives.nuscenes import NuscenesDrive
start, cpu = time.perf_counter(), time.process_time()
drive = NuscenesDrive(sys.argv[1], cameras=["CAM_FRONT"], cache=pathlib.Path(sys.argv[2]))
print(time.perf_counter() - start, time.process_time() - cpu, len(drive),
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def main() -> int:
    """Reads, writes, opens and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of sample drives (drives/, bags/, ...)")
    parser.add_argument("--drive", type=Path, action="append", default=[])
    parser.add_argument("--samples", type=int, default=34149, help="of the made-up tables")
    parser.add_argument("--key-frames-only", action="store_true", help="no sweeps in the tables")
    args = parser.parse_args()
    paths = list(args.drive)
    if args.data:
        paths += sorted(args.data.glob("drives/*")) + sorted(args.data.glob("bags/*"))
        paths += [args.data / "nuscenes_real"]
    report = {"workers": WORKERS, "read": {p.name: reading(p) for p in paths if p.suffix != ".md"}}
    with tempfile.TemporaryDirectory() as scratch:
        report["nuscenes_index"] = index(Path(scratch), args.samples, not args.key_frames_only)
    print(json.dumps(report, indent=2))
    return 0 if report["nuscenes_index"]["met"] else 1


def reading(path: Path) -> dict[str, object]:
    """Returns how fast two processes read every frame of the drives at a path."""
    from rosam_core.drives.opening import find_kind, open_drives

    try:
        drives = open_drives(path)
    except (ValueError, OSError) as error:
        return {"not_read": str(error).replace(str(path), path.name)}
    jobs = [(path, w) for w in range(WORKERS)]
    # Not forked: a child would inherit locks that threads of this process hold.
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_warm, range(WORKERS)))
        start = time.perf_counter()
        frames = sum(pool.map(_read_part, jobs))
        seconds = time.perf_counter() - start
    return {
        "kind": find_kind(path),
        "frames": frames,
        "frames_per_s": round(frames / seconds, 1),
        "size": "{0.camera.width}x{0.camera.height}".format(drives[0].glance(0)),
    }


def _warm(number: int) -> int:
    import rosam_core.drives.opening  # noqa: F401

    return number


def _read_part(job: tuple[Path, int]) -> int:
    import cv2

    from rosam_core.drives.opening import open_drives

    cv2.setNumThreads(1)
    path, part = job
    count = 0
    for drive in open_drives(path):
        for frame_number in range(part, len(drive), WORKERS):
            drive[frame_number]
            count += 1
    return count


def index(scratch: Path, samples: int, sweeps: bool) -> dict[str, object]:
    """Returns time and memory of opening made-up tables, the first and the second time."""
    rows = write_tables(scratch / "v1.0-made", samples, sweeps)
    size = sum(path.stat().st_size for path in scratch.rglob("*.json"))
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", OPEN, str(scratch), str(scratch / "cache")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise SystemExit("opening the made-up tables failed")
        runs.append([float(word) for word in done.stdout.split()])
    (first, first_cpu, images, memory), (again, again_cpu, *_) = runs
    return {
        "samples": samples,
        "rows_of_sample_data": rows,
        "tables_mb": round(size / 1e6),
        "images_of_cam_front": int(images),
        "first_s": round(first, 2),
        "first_cpu_s": round(first_cpu, 2),
        "peak_memory_gb": round(memory, 3),
        "again_s": round(again, 3),
        "again_cpu_s": round(again_cpu, 3),
        "met": first < INDEX_S and memory < INDEX_GB and again < REOPEN_S,
    }


def write_tables(folder: Path, samples: int, sweeps: bool) -> int:
    """Writes tables with nuScenes' fields and layout; returns the rows of `sample_data`."""
    folder.mkdir(parents=True)
    scenes = -(-samples // SCENE_SAMPLES)

    def save(name: str, rows: list[dict]) -> None:
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))

    words = ("Night", "Rain, bus", "Parked cars")
    save("scene", [_scene(i, words[i % 3]) for i in range(scenes)])
    names = [name for name, _ in SENSORS]
    save("sensor", [{"token": _token(1, i), "channel": n} for i, n in enumerate(names)])
    calibrations = []
    for scene in range(scenes):
        for i, name in enumerate(names):
            K = [[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]] if "CAM" in name else []
            calibrations.append(
                {
                    "token": _token(2, scene * len(names) + i),
                    "sensor_token": _token(1, i),
                    "translation": [1.7, 0.02, 1.51],
                    "rotation": [0.5, -0.5, 0.5, -0.5],
                    "camera_intrinsic": K,
                }
            )
    save("calibrated_sensor", calibrations)
    save(
        "sample",
        [
            {
                "token": _token(3, i),
                "timestamp": 1_532_402_927_000_000 + i * 500_000,
                "scene_token": _token(0, i // SCENE_SAMPLES),
            }
            for i in range(samples)
        ],
    )
    count = 0
    with (
        (folder / "sample_data.json").open("w") as data,
        (folder / "ego_pose.json").open("w") as e,
    ):
        data.write("[")
        e.write("[")
        for sample in range(samples):
            scene = sample // SCENE_SAMPLES
            for i, (name, between) in enumerate(SENSORS):
                suffix, size = ("jpg", (1600, 900)) if "CAM" in name else ("pcd.bin", (0, 0))
                for step in range(1 + (between if sweeps else 0)):
                    stamp = 1_532_402_927_000_000 + sample * 500_000 + step * 50_000 + i * 100
                    kind = "samples" if step == 0 else "sweeps"
                    comma = ",\n" if count else "\n"
                    e.write(
                        f'{comma}{{\n"token": "{_token(5, count)}",\n"timestamp": {stamp},\n'
                        f'"rotation": [\n0.5720320410411{i},\n-0.0016980502616264106,\n'
                        f'0.011797639430459554,\n-0.8201446679406335\n],\n"translation": [\n'
                        f"{411.3 + 0.05 * count},\n1180.890380859375,\n0.0\n]\n}}"
                    )
                    data.write(
                        f'{comma}{{\n"token": "{_token(4, count)}",\n'
                        f'"sample_token": "{_token(3, sample)}",\n'
                        f'"ego_pose_token": "{_token(5, count)}",\n'
                        f'"calibrated_sensor_token": "{_token(2, scene * len(SENSORS) + i)}",\n'
                        f'"timestamp": {stamp},\n"fileformat": "{suffix}",\n'
                        f'"is_key_frame": {"true" if step == 0 else "false"},\n'
                        f'"height": {size[1]},\n"width": {size[0]},\n'
                        f'"filename": "{kind}/{name}/n015-2018-07-24-11-22-45+0800__{name}__'
                        f'{stamp}.{suffix}",\n"prev": "{_token(4, count - 1)}",\n'
                        f'"next": "{_token(4, count + 1)}"\n}}'
                    )
                    count += 1
        data.write("\n]")
        e.write("\n]")
    return count


def _scene(number: int, description: str) -> dict[str, str]:
    return {
        "token": _token(0, number),
        "name": f"scene-{number:04d}",
        "description": description,
    }


def _token(table: int, number: int) -> str:
    """Returns 32 hexadecimal digits that no other row has."""
    return f"{table * 0x1234567 + 1:08x}{(number + 1) * 0x9E3779B97F4A7C15 % (1 << 96):024x}"


if __name__ == "__main__":
    sys.exit(main())
