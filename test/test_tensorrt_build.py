from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from engine_support import Nvidia, build, cache, nvidia, tiny

from rosam_core.engines.engine_cache import entries
from rosam_core.engines.tensorrt_build import (
    BuildOptions,
    batch_ranges,
    build_engine,
    check_batches,
)

__all__ = ["cache", "nvidia"]  # the fixtures


@pytest.mark.parametrize(
    ("batches", "ranges"),
    [((1,), [(1, 1)]), ((1, 6), [(1, 1), (2, 6)]), ((4,), [(1, 4)])],
)
def test_profiles_cover_every_batch_once(batches: tuple, ranges: list) -> None:
    assert batch_ranges(batches) == ranges


def test_batches() -> None:
    assert check_batches([6, 1, 6]) == (1, 6)
    for wrong in ([], [0], [65]):
        with pytest.raises(ValueError, match="batch sizes must be in 1 to 64"):
            check_batches(wrong)


def test_builds_are_kept_and_built_again_on_demand(
    tmp_path: Path, cache: Path, nvidia: Nvidia
) -> None:
    model, _ = tiny(tmp_path)
    folder = build(model)
    entry, built = build_engine(model, BuildOptions("fp32"))
    assert (entry.folder, built) == (folder, False)
    assert build_engine(model, BuildOptions("fp32", force=True))[1]
    (plan,) = folder.glob("*.plan")
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    assert build_engine(model, BuildOptions("fp32"))[1], "damage is mended by building"
    assert len(entries(cache)) == 1


def test_the_engine_that_was_asked_for_last_is_the_newest(
    tmp_path: Path, cache: Path, nvidia: Nvidia
) -> None:
    model, _ = tiny(tmp_path)
    one, three = build(model), build(model, (1, 3))
    assert [entry.folder for entry in entries(cache)] == [three, one]
    entry, built = build_engine(model, BuildOptions("fp32"))
    assert not built
    assert [found.folder for found in entries(cache)] == [one, three]
    assert entries(cache)[0] == entry


def test_an_engine_too_far_from_the_cpu_is_not_kept(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = tiny(tmp_path)
    monkeypatch.setenv("FAKE_ERROR", "1.002")
    with pytest.raises(ValueError, match=r"by 2\.00e-03 \(p99, relative\), the limit of fp32 is"):
        build(model)
    assert entries(cache) == []
    monkeypatch.setenv("FAKE_ERROR", "1.0005")
    build(model)
    (entry,) = entries(cache)
    assert entry.card.parity["depth_p99"] == pytest.approx(5e-4, rel=1e-2)
    monkeypatch.setenv("FAKE_ERROR", "nan")
    with pytest.raises(ValueError, match="engine refused"):
        build(model, force=True)


def test_a_disk_that_is_too_small_is_noticed_before_the_build(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rosam_core.engines import tensorrt_build

    model, _ = tiny(tmp_path)
    monkeypatch.setattr(
        tensorrt_build.shutil, "disk_usage", lambda path: SimpleNamespace(free=100)
    )
    monkeypatch.setattr(nvidia[0], "Builder", lambda *_: pytest.fail("it was built"))
    with pytest.raises(
        OSError, match=r"has 0\.0 MB left, the engine needs about .*rosam engine pr"
    ):
        build(model)


def test_timings_are_kept(
    tmp_path: Path, cache: Path, nvidia: Nvidia, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = tiny(tmp_path)
    timings = tmp_path / "deep" / "orin.timings"
    build(model, timing_cache=timings)
    assert timings.read_bytes() == b"timings"
    build(model, timing_cache=timings, force=True)
    assert timings.read_bytes() == b"timings" + bytes(7), "read before it is written"
    timings.write_bytes(b"noise")
    build(model, timing_cache=timings, force=True)
    assert "is damaged or of another GPU: starting anew" in caplog.text
    build(model, force=True)
    assert len(list(cache.glob("*.timings"))) == 1


def test_a_model_tensorrt_cannot_read_is_an_error_with_its_words(
    tmp_path: Path, cache: Path, nvidia: Nvidia, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rosam_core.engines import tensorrt_build

    model, _ = tiny(tmp_path)
    network = onnx.load(str(model))
    turned = onnx.helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 1, 2, 3])
    network.graph.node.insert(0, turned)  # bytes may go into a cast only
    network.graph.node[1].input[0] = "turned"
    raw = network.SerializeToString()
    monkeypatch.setattr(tensorrt_build, "prepare_model", lambda *_: (raw, "fp32"))
    with pytest.raises(ValueError, match=r"cannot read the model: Transpose has type UInt8: exp"):
        build(model)
