"""Every `rosam` command that README, docs and recipes print is one that `rosam` takes."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from rosam_core import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "training" / "recipes").rglob("*.yaml"))


class UnderstoodError(Exception):
    """The command line was understood."""


def commands(path):
    """Returns the `rosam` command lines of a page's code blocks, or of a recipe's head."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    else:
        text = "\n".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    text = text.replace("\\\n", " ")
    lines = [part.strip() for line in text.splitlines() for part in line.split("&&")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("rosam ")]


@pytest.fixture
def understood(monkeypatch):
    """Parses as `rosam` does, and stops there."""
    parse = argparse.ArgumentParser.parse_known_args

    def stop(self, args=None, namespace=None):
        found, rest = parse(self, args, namespace)
        if self.prog != "rosam":
            return found, rest
        assert not rest or hasattr(found, "overrides"), f"unrecognised: {rest}"
        assert all("=" in word and word[0] != "-" for word in rest), f"unrecognised: {rest}"
        raise UnderstoodError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)

    def check(words):
        with pytest.raises(UnderstoodError):
            cli.main(words)

    return check


@pytest.mark.parametrize(
    "path", [p for p in (*PAGES, *RECIPES) if commands(p)], ids=lambda p: p.stem
)
def test_documented_commands_are_understood(path, understood, capsys):
    for words in commands(path):
        try:
            understood(words)
        except SystemExit:
            pytest.fail(f"{path.name}: rosam {shlex.join(words)}: {capsys.readouterr().err}")


def test_there_are_commands_to_check():
    found = {path.name: len(commands(path)) for path in (*PAGES, *RECIPES)}
    assert found["README.md"] > 15
    assert found["training.md"] > 8
    assert found["pretrain_synthetic.yaml"] > 5
