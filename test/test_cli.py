"""Every command explains itself; exit codes mean done, failed in one line, wrong arguments."""

import importlib
import sys
import types
from pathlib import Path

import pytest

from rosam_core import cli


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: rosam {command}" in capsys.readouterr().out


def test_every_command_file_is_registered(repository: Path) -> None:
    has_run = {
        path.stem
        for path in (repository / "rosam_core" / "commands").glob("*.py")
        if "def add_arguments(" in path.read_text()
    }
    assert set(cli.COMMANDS) <= has_run
    for name in cli.COMMANDS:
        assert callable(importlib.import_module(f"rosam_core.commands.{name}").run)


@pytest.mark.parametrize("arguments", [[], ["paint"], ["eval", "--nonsense"], ["bag"]])
def test_wrong_arguments_end_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: rosam" in capsys.readouterr().err


def test_a_missing_file_is_one_line_and_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.mcap"
    assert cli.main(["bag", "info", str(missing)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rosam bag: ")
    assert "missing.mcap" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("outcome", "code", "line"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (1, 1, ""),
        (ValueError("no such thing"), 1, "rosam info: no such thing\n"),
        (OSError("disk full"), 1, "rosam info: disk full\n"),
        (KeyboardInterrupt(), 1, "rosam: stopped\n"),
    ],
)
def test_outcomes_of_a_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: object,
    code: int,
    line: str,
) -> None:
    def run(args: object) -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    command = types.ModuleType("rosam_core.commands.info")
    monkeypatch.setattr(command, "add_arguments", lambda parser: None, raising=False)
    monkeypatch.setattr(command, "run", run, raising=False)
    monkeypatch.setitem(sys.modules, "rosam_core.commands.info", command)
    assert cli.main(["info"]) == code
    assert capsys.readouterr().err == line


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    command = types.ModuleType("rosam_core.commands.info")
    monkeypatch.setattr(command, "add_arguments", lambda parser: None, raising=False)
    monkeypatch.setattr(command, "run", lambda args: 1 // 0, raising=False)
    monkeypatch.setitem(sys.modules, "rosam_core.commands.info", command)
    with pytest.raises(ZeroDivisionError):
        cli.main(["info"])


def test_a_missing_package_is_one_line_with_the_way_to_get_it(monkeypatch, capsys, tmp_path):
    from rosam_core.commands import train

    def run(args):
        raise ModuleNotFoundError("No module named 'lightning'", name="lightning.fabric")

    monkeypatch.setattr(train, "run", run)
    assert cli.main(["train", "a.yaml", "--out", str(tmp_path / "x")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rosam train: needs the package lightning, which is not installed")
    assert "pip install -c constraints.txt '.[train]'" in said
    assert len(said.splitlines()) == 1


def test_rendering_without_torch_makes_no_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    out = tmp_path / "drives"
    assert cli.main(["synth", "--out", str(out), "--drives", "1", "--frames", "1"]) == 1
    assert "rosam synth: needs the package torch" in capsys.readouterr().err
    assert not out.exists()
