"""The repository keeps its own rules: small documented files, light imports, live links."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MAX_LINES = 400
PACKAGES = ("rosam_core", "rosam_depth_ros")
LIGHT = ("rosam_core.types", "rosam_core.runtime", "rosam_core.engines", "rosam_depth_ros")
TEXT = {".py", ".md", ".toml", ".txt", ".xml", ".yaml", ".yml", ".cfg", ".json", ".sh", ""}


@pytest.fixture(scope="module")
def files(repository: Path) -> list[Path]:
    """What git tracks, or the whole folder where this is no git checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [repository / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def _public_definitions(tree: ast.Module) -> Iterator[ast.AST]:
    """The module's public functions and classes, and the public methods of those classes."""
    pending: list[ast.AST] = [tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if not node.name.startswith("_"):
                    yield node
                    if isinstance(node, ast.ClassDef):
                        pending.append(node)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                pending.append(node)


def test_no_file_is_long(repository: Path, files: list[Path]) -> None:
    long = {
        str(path.relative_to(repository)): lines
        for path in files
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long, f"split these files, more than {MAX_LINES} lines each: {long}"


def test_every_public_function_is_documented(repository: Path, files: list[Path]) -> None:
    bare = []
    for path in files:
        name = path.relative_to(repository)
        if path.suffix != ".py" or name.parts[0] not in (*PACKAGES, "launch", "benchmarks"):
            continue
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None and path.read_text().strip():
            bare.append(f"{name}:1")
        bare += [
            f"{name}:{node.lineno} {node.name}"
            for node in _public_definitions(tree)
            if ast.get_docstring(node) is None
        ]
    assert not bare, bare


def test_documentation_check_sees_a_bare_method() -> None:
    tree = ast.parse("class A:\n    '''Yes.'''\n    def b(self): ...\n    def _c(self): ...\n")
    names = [node.name for node in _public_definitions(tree) if ast.get_docstring(node) is None]
    assert names == ["b"]


def test_no_path_of_one_machine(repository: Path, files: list[Path]) -> None:
    personal = re.compile(r"(?<![\w.])/(home|root|work|Users|mnt)/\w")
    found = [
        f"{path.relative_to(repository)}:{number}"
        for path in files
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if personal.search(line) and path != Path(__file__)
    ]
    assert not found, found


def test_every_todo_names_an_issue(repository: Path, files: list[Path]) -> None:
    loose = [
        f"{path.relative_to(repository)}:{number}"
        for path in files
        if path.suffix == ".py" and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not re.search(r"#\d+", line)
    ]
    assert not loose, loose


def test_links_in_the_documents_lead_somewhere(repository: Path, files: list[Path]) -> None:
    broken = []
    for path in files:
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(repository)} -> {target}")
    assert not broken, broken


def _run(program: str, repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_node_loads_imports_without_torch(repository: Path) -> None:
    modules = sorted(
        ".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (repository / package).rglob("*.py")
    )
    light = [name for name in modules if name == LIGHT[0] or name.startswith(LIGHT[1:])]
    program = f"""
import importlib, sys
for name in ("torch", "lightning", "lightning_fabric", "torchvision"):
    sys.modules[name] = None  # importing it now raises ImportError
for name in {light!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Without ROS the shell cannot be imported; with torch blocked nothing else may be missing.
        if not name.startswith("rosam_depth_ros") or error.name in ("torch", "lightning"):
            raise
"""
    done = _run(program, repository)
    assert done.returncode == 0, done.stderr


def test_what_needs_torch_is_skipped_where_there_is_none(repository: Path) -> None:
    """Of Python 3.10 and 3.12 not every machine has a build: the rest is tested all the same."""
    program = """
import sys
for name in ("torch", "lightning", "lightning_fabric", "torchvision", "segment_anything"):
    sys.modules[name] = None  # importing it now raises ModuleNotFoundError
import pytest
sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "test"]))
"""
    done = _run(program, repository)
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-40:])


def test_help_imports_nothing_heavy(repository: Path) -> None:
    program = """
import sys
from rosam_core.cli import main
try:
    main(["--help"])
finally:
    print(sorted({"torch", "cv2", "onnxruntime", "rosbags", "rclpy"} & set(sys.modules)))
"""
    done = _run(program, repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
