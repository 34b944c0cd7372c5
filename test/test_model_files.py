"""A model and its card are replaced together or not at all."""

import pytest

from rosam_core.engines.model_files import replaced_model
from rosam_core.types import card_path


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_model_and_card_take_their_place_together(tmp_path):
    output = tmp_path / "new" / "model.onnx"
    with replaced_model(output) as temporary:
        temporary.write_text("model")
        card_path(temporary).write_text("card")
        assert not output.exists()
    assert contents(output.parent) == {"model.onnx": "model", card_path(output).name: "card"}


def write(output, *, card=True, fails=False):
    with replaced_model(output) as temporary:
        temporary.write_text("new")
        if card:
            card_path(temporary).write_text("new card")
        if fails:
            raise ZeroDivisionError


def test_what_was_there_stays_if_anything_fails(tmp_path):
    output = tmp_path / "model.onnx"
    output.write_text("old")
    card_path(output).write_text("old card")
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError):
        write(output, fails=True)
    assert contents(tmp_path) == before
    with pytest.raises(FileNotFoundError, match=r"json was not written: .*model\.onnx stays"):
        write(output, card=False)
    assert contents(tmp_path) == before
