"""`rosam weights average`: by hand on small states, and through a checkpoint."""

import pytest

torch = pytest.importorskip("torch")

from rosam_core.checkpoint import load_checkpoint, save_checkpoint
from rosam_core.cli import main
from rosam_core.commands.weights_average import average
from rosam_core.engines.contract import load_card
from rosam_core.engines.registry import default_model_path
from rosam_core.export import load_student

pytestmark = pytest.mark.torch


def state(value, focal=80.0, **more):
    weights = {"w": torch.full((2,), value), "seen": torch.tensor(int(value))}
    return {
        "ema": weights,
        "networks": {"student": weights, "pose": weights},
        "optimizer": {"lr": 1},
        "step": int(value),
        "commit": "abc",
        "focal_range": [60.0 + value, 100.0 + value],
        "validation": {"all": {"abs_rel": 0.1}},
        "recipe": f"data:\n  canonical_focal_px: {focal}\n",
        **more,
    }


def test_the_mean_by_hand():
    licences = ({"licence": "MIT"}, {"licence": "Apache-2.0"})
    states = [state(2.0, **licences[0]), state(10.0, **licences[1])]
    found = average(states, (0.25, 0.75), ("a/last.pt", "b/last.pt"))
    assert found["ema"]["w"].tolist() == [8.0, 8.0]
    assert found["ema"]["seen"] == 10  # a count is no weight
    assert found["networks"] == {"student": found["ema"]}
    assert found["focal_range"] == [62.0, 110.0]
    assert (found["step"], found["licence"]) == (10, "Apache-2.0 AND MIT")
    assert found["averaged"] == "0.25 of a/last.pt, 0.75 of b/last.pt"
    # What was measured with the last one, and what only goes on training it, is not of the mean.
    assert found["validation"] == {}
    assert "optimizer" not in found


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (state(1.0, focal=90.0), "a gives other metres than b: focal lengths of 90 and 80 px"),
        (state(1.0, is_metric=False), "a gives other metres than b"),
        ({**state(1.0), "ema": {"w": torch.zeros(3)}}, "a is of another network than b"),
    ],
)
def test_what_has_no_mean_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        average([other, state(1.0)], (0.5, 0.5), ("a", "b"))


def test_the_command_writes_a_checkpoint(tmp_path, capsys):
    for name, value in (("a", 2.0), ("b", 4.0)):
        save_checkpoint(tmp_path / f"{name}.pt", state(value))
    both = [str(tmp_path / "a.pt"), str(tmp_path / "b.pt")]
    output = tmp_path / "out" / "mean.pt"
    assert main(["weights", "average", *both, "-o", str(output)]) == 0
    assert "next: rosam export" in capsys.readouterr().out
    assert load_checkpoint(output)["ema"]["w"].tolist() == [3.0, 3.0]
    assert main(["weights", "average", *both, "-o", "mean.onnx"]) == 1
    assert "name a .pt file" in capsys.readouterr().err


def test_the_mean_of_an_exported_model_and_what_was_trained_from_it(tmp_path, capsys):
    packaged = default_model_path()
    student = load_student(packaged).student
    trained = {name: torch.zeros_like(value) for name, value in student.state_dict().items()}
    heads = [name for name in trained if name.startswith(student.training_only)]
    for name in heads:  # an exported model has none
        trained[name] = torch.ones_like(trained[name])
    last = tmp_path / "last.pt"
    save_checkpoint(last, {**state(4.0, focal=256.0), "ema": trained})
    output = tmp_path / "mean.pt"
    both = ["weights", "average", str(packaged), str(last), "--shares", "0.25", "0.75"]
    assert main([*both, "-o", str(output)]) == 0
    found = load_checkpoint(output)
    assert heads
    for name, value in student.state_dict().items():
        if name in heads:
            assert (found["ema"][name] == 1).all()
        elif value.is_floating_point():
            assert torch.allclose(found["ema"][name], 0.25 * value)
    assert found["focal_range"][1] == load_card(packaged).focal_range_px[1]
    with pytest.raises(SystemExit):
        main(["weights", "average", str(last), str(packaged), "-o", str(output)])
    assert "cannot be the last" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.pt"], "give two checkpoints or more"),
        (["a.pt", "b.pt", "--shares", "1"], "and a share of each"),
        (["a.pt", "b.pt", "--shares", "0.5", "0.6"], "sum to 1, got 1.1"),
        (["a.pt", "b.pt", "--shares", "-1", "2"], "lie between 0 and 1"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["weights", "average", "-o", "m.pt", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
