"""`rosam export`: wrong arguments, and figures that go onto a card."""

import dataclasses
import json
import re

import pytest
from support import write_tiny_model

from rosam_core.cli import main
from rosam_core.commands.export import read_results, update_card
from rosam_core.types import ModelCard, card_path


@pytest.fixture
def model(tmp_path):
    """A model and its card; only their hash matters here."""
    return write_tiny_model(tmp_path / "model")


def measured(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps(values))
    return str(path)


def test_the_json_of_the_benchmarks_goes_onto_a_card_and_again(tmp_path, model, capsys):
    before = ModelCard.load(card_path(model))
    synthetic = measured(
        tmp_path,
        "accuracy_synthetic.json",
        sha256=before.sha256,
        protocol="metric, no scaling",
        conditions={"night": {"abs_rel": 0.14, "met": True}},
    )
    real = measured(tmp_path, "a.json", sha256=before.sha256, all={"abs_rel_median_scaled": 0.2})
    update = ["export", "--update-card", str(model), "--results"]
    assert main([*update, synthetic, f"real_nuscenes={real}"]) == 0
    assert "accuracy_synthetic, real_nuscenes" in capsys.readouterr().out
    card = ModelCard.load(card_path(model))
    assert card.results["accuracy_synthetic"]["conditions"]["night"]["abs_rel"] == 0.14
    assert card.results["real_nuscenes"]["all"] == {"abs_rel_median_scaled": 0.2}
    assert {k: card.results[k] for k in before.results} == before.results

    measured(tmp_path, "accuracy_synthetic.json", conditions={})
    assert main([*update, synthetic, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["results"]["accuracy_synthetic"] == {"conditions": {}}  # replaced, not merged
    assert printed["results"]["real_nuscenes"]["all"] == {"abs_rel_median_scaled": 0.2}
    assert dataclasses.replace(ModelCard.load(card_path(model)), results=before.results) == before
    assert sorted(p.name for p in model.parent.iterdir()) == sorted(
        [model.name, card_path(model).name]
    )


def test_what_a_card_says_of_licence_and_training_is_put_right(model):
    before = ModelCard.load(card_path(model))
    update = ["export", "--update-card", str(model), "--licence", "MIT", "--training-data", "own"]
    assert main([*update, "--name", "mine"]) == 0
    stated = {"licence": "MIT", "training_data": "own", "name": "mine"}
    assert ModelCard.load(card_path(model)) == dataclasses.replace(before, **stated)


def test_results_of_another_model_are_refused(tmp_path, model):
    text = card_path(model).read_text()
    with pytest.raises(ValueError, match=r"the results 'x' are of another model \(0123456789ab, "):
        update_card(model, {"x": {"sha256": "0123456789abcdef"}})
    assert card_path(model).read_text() == text
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(ValueError, match="is not the file that its card describes"):
        update_card(model, {"x": {}})
    with pytest.raises(FileNotFoundError, match="no model at"):
        update_card(tmp_path / "absent.onnx", {"x": {}})
    with pytest.raises(ValueError, match=r"expected the \.onnx file of a model, got m\.json"):
        update_card(tmp_path / "m.json", {"x": {}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.json"], "no results at absent.json"),
        (["training={}"], "the section 'training' is taken"),
        (["quantization={}"], "the section 'quantization' is taken"),
        (["={}"], "the section '' is taken"),
        (["{}", "x={}", "x={}"], "the section 'x' is taken"),
        (["{list}"], "must hold a JSON object, found a list"),
        (["{cut}"], "cut.json is not JSON"),
        (["{nan}"], "NaN is not a number that JSON knows"),
    ],
)
def test_wrong_results(tmp_path, arguments, message):
    for name, text in (("good", "{}"), ("list", "[]"), ("cut", "{"), ("nan", '{"a": NaN}')):
        (tmp_path / f"{name}.json").write_text(text)
    files = {name: tmp_path / f"{name}.json" for name in ("list", "cut", "nan")}
    filled = [a.format(tmp_path / "good.json", **files) for a in arguments]
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        read_results(filled)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["last.pt"],
        ["-o", "m.onnx"],
        ["--update-card", "m.onnx"],
        ["last.pt", "--update-card", "m.onnx"],
        ["--update-card", "m.onnx", "--name", "n", "--size", "64x64"],
        ["last.pt", "-o", "m.onnx", "--calibrate", "drives", "--temperature", "1"],
    ],
)
def test_wrong_arguments_end_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", *arguments])
    assert stopped.value.code == 2
    assert "rosam export: error:" in capsys.readouterr().err
