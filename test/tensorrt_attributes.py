"""Which attributes of TensorRT's classes a source touches, and which a real version has."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

MODULE = ""  # the class of attributes of the module itself
RTX = {"RtxModule": MODULE, "RtxBuilderConfig": "IBuilderConfig"}
CLASSES = {
    **{"TensorRtModule": MODULE, "ILogger": "ILogger", "IHostMemory": "IHostMemory"},
    **{name: name for name in ("Builder", "IBuilderConfig", "INetworkDefinition", "OnnxParser")},
    **{name: name for name in ("IOptimizationProfile", "ITimingCache", "Runtime")},
    **{name: name for name in ("ICudaEngine", "IExecutionContext")},
}
"""How `rosam_core/engines/tensorrt_library.py` names TensorRT's classes in annotations."""


def touched(source: str, classes: dict[str, str] = CLASSES) -> set[tuple[str, str]]:
    """Returns (class, attribute) of every access through a name that is annotated with a class.

    Follows parameters, annotated names, `self.x = name` and classes of the module, such as
    `trt.BuilderFlag.TF32`. Classes that derive from one of TensorRT's count with their methods.
    """
    scopes = ast.parse(source).body  # a name means one thing in a function or class
    return {pair for scope in scopes for pair in _touched(scope, classes)}


def _touched(tree: ast.stmt, classes: dict[str, str]) -> set[tuple[str, str]]:
    kinds: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and isinstance(node.annotation, ast.Name):
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            if node.annotation.id in classes:
                kinds[name] = classes[node.annotation.id]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            for target, value in pairs:
                if isinstance(value, ast.Name) and value.id in kinds:
                    kinds[ast.unparse(target)] = kinds[value.id]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            kind = _kind(node.value, kinds)
            if kind is not None:
                found.add((kind, node.attr))
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                kind = _kind(base, kinds)
                methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
                found |= {(kind, name) for name in methods if kind and kind != MODULE}
    return found


def _kind(node: ast.expr, kinds: dict[str, str]) -> str | None:
    """Returns the class an expression is of, or is; None where that is not known."""
    if ast.unparse(node) in kinds:
        return kinds[ast.unparse(node)]
    if isinstance(node, ast.Attribute) and node.attr[0].isupper():
        outer = _kind(node.value, kinds)
        if outer is not None:
            return f"{outer}.{node.attr}".lstrip(".")
    return None


def missing(found: set[tuple[str, str]], offered: dict[str, list[str]]) -> list[str]:
    """Returns what a version does not have, as `Class.attribute`."""
    return sorted(
        f"{kind}.{name}".lstrip(".") for kind, name in found if name not in offered.get(kind, ())
    )


_DUMP = """
import ctypes, importlib, json, sys
package, folder, *stubs = sys.argv[1:]
for stub in stubs:
    ctypes.CDLL(stub, ctypes.RTLD_GLOBAL)
if folder:
    sys.path.insert(0, folder)
module = importlib.import_module(package)
classes = {"": dir(module)}
def add(name, value):
    if isinstance(value, type) and name not in classes and name.count(".") < 3:
        classes[name] = dir(value)
        for inner in dir(value):
            if not inner.startswith("_"):
                add(f"{name}.{inner}", getattr(value, inner, None))
for name in dir(module):
    add(name, getattr(module, name))
print(json.dumps({"version": module.__version__, "classes": classes}))
"""


def offered(package: str, folder: str = "", stubs: tuple[Path, ...] = ()) -> dict:
    """Returns `version` and `classes` (names of attributes) of bindings, from another process."""
    done = subprocess.run(
        [sys.executable, "-c", _DUMP, package, folder, *map(str, stubs)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


_FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL"),
    *("createInferRuntime_INTERNAL", "createNvOnnxParserRefitter_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry", "getNvOnnxParserVersion"),
    *("getPluginRegistry", "initLibNvInferPlugins"),
)


def make_stubs(folder: Path, major: str, compiler: str) -> tuple[Path, ...]:
    """Compiles empty shared objects that let bindings load without TensorRT itself."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    made = []
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        made.append(folder / f"lib{name}.so.{major}")
        options = ("-shared", "-fPIC", f"-Wl,-soname,{made[-1].name}")
        subprocess.run([compiler, *options, "-o", str(made[-1]), str(source)], check=True)
    return tuple(made)
