"""Which packages are asked for where one is missing, and how the pages say to get them."""

import re
import subprocess
import sys

import pytest
from test_documented_commands import PAGES, ROOT

from rosam_core.engines.onnx_precision import prepare_model

WITHOUT_ONNX = """
import sys
sys.modules["onnx"] = None
from rosam_core.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("calibrate", "model.onnx", "drive"), "calibrating"),
        (("quantize", "model.onnx", "-o", "8.onnx", "--calibrate", "drive"), "quantising"),
        (("bench", "model.onnx"), "timing"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_a_robot_without_onnx_is_not_told_to_install_torch(tmp_path, words, what):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"rosam {words[0]}: {what} needs the package onnx: in a checkout, pip install -c "
        "constraints.txt '.[quantize]'\n"
    )


def test_an_engine_without_onnx_needs_onnx_alone(monkeypatch, tmp_path):
    # The extra `tensorrt` would bring another TensorRT beside that of JetPack.
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install -c constraints\.txt onnx$"):
        prepare_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_documented_installs_keep_the_numpy_of_ros(path):
    for line in re.findall(r"pip install [^`|\n]+", path.read_text(encoding="utf-8")):
        brings_numpy = ".[" in line or "onnx " in line
        assert not brings_numpy or "-c constraints.txt" in line or "numpy<2" in line, line
        # Both at once is a contradiction that pip refuses.
        assert not ("-c constraints.txt" in line and "cuda-bindings<13" in line), line
