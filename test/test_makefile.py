"""What `make` runs: the environment it makes or mends, and how it passes paths on."""

import os
import shlex
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")

# Stands in for Python: notes how an environment is made, and makes one whose pip does nothing.
PYTHON = """#!/bin/bash
[ "$1 $2" = "-m venv" ] || exit 0
echo "${@:3}" >> "$(dirname "$0")/made.txt"
for folder; do true; done
[ "$3" = --clear ] && rm -r "$folder"
mkdir -p "$folder/bin"
touch "$folder/pyvenv.cfg"
printf '#!/bin/sh\\n' > "$folder/bin/pip"
chmod +x "$folder/bin/pip"
echo "PATH=$folder/bin:$PATH" > "$folder/bin/activate"
"""


@pytest.fixture
def environment(tmp_path):
    """One without pip, so that no packages are installed whatever the Makefile does."""
    for name in ("pip", "pip3"):
        path = tmp_path / "stubs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\necho not the pip of the environment >&2\nexit 1\n")
        path.chmod(0o755)
    search = os.pathsep.join([str(path.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": search, "MAKEFLAGS": ""}  # not those of a `make test` above


def make(repository, environment, *arguments):
    done = subprocess.run(
        ["make", "-C", str(repository), "--no-print-directory", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def python(tmp_path):
    path = tmp_path / "python"
    path.write_text(PYTHON)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("there", "how"),
    [
        ((), ""),
        (("bin/python",), ""),  # not one of venv's: nothing in it is removed
        (("pyvenv.cfg", "bin/python"), "--clear "),
        (("pyvenv.cfg", "bin/python", "bin/pip"), "--clear "),
        (("pyvenv.cfg", "bin/python", "bin/activate"), ""),  # pip is added to what is there
        (("pyvenv.cfg", "bin/python", "bin/pip", "bin/activate"), None),
    ],
)
def test_an_interrupted_environment_is_made_anew(
    repository, environment, tmp_path, python, there, how
):
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    for name in (*there, "kept"):
        (folder / name).write_text("")
        (folder / name).chmod(0o755)
    if how is None:
        (folder / "bin" / "activate").write_text(f"PATH={folder}/bin:$PATH")
        (folder / "bin" / "pip").write_text("#!/bin/sh\n")
    make(repository, environment, "venv", f"VENV={folder}", f"PYTHON={python}")
    made = tmp_path / "made.txt"
    assert (made.read_text() if made.exists() else None) == (
        None if how is None else f"{how}{folder}\n"
    )
    assert (folder / "kept").exists() == (how != "--clear ")
    assert (folder / ".installed").exists()


def test_paths_with_spaces_reach_the_demo(repository, environment, tmp_path):
    words = ("BAG=my drive.mcap", "OUT=out/my demo", "DEMO_ARGS=--topic /rear/image --fov 70")
    printed = make(repository, environment, "-n", "demo", f"VENV={tmp_path}", *words).splitlines()[
        -1
    ]
    command = shlex.split(printed.partition("&& ")[2])
    assert command == [
        *("rosam", "demo", "--out", "out/my demo", "--bag", "my drive.mcap"),
        *("--topic", "/rear/image", "--fov", "70"),
    ]
    printed = make(repository, environment, "-n", "demo", f"VENV={tmp_path}").splitlines()[-1]
    assert shlex.split(printed.partition("&& ")[2]) == ["rosam", "demo", "--out", "out/demo"]
