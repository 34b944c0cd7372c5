"""Gradients in 16 bits: scaled, clipped at their own size, and never the end of a run too soon."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision
from test_trainer import same, small
from training_support import write_train_and_val

from rosam_core import trainer as trainer_module
from rosam_core.checkpoint import load_checkpoint
from rosam_core.trainer import Trainer, train

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    return write_train_and_val(tmp_path_factory.mktemp("drives"))


def in_16_bits(monkeypatch, scale):
    """Makes the trainer run as on a GPU without bfloat16, its gradients scaled by `scale`."""

    def fabric(precision, **given):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return Fabric(plugins=[MixedPrecision("16-mixed", "cpu", scaler)], **given)

    monkeypatch.setattr(trainer_module, "Fabric", fabric)


def test_gradients_in_16_bits_are_clipped_at_their_own_size(drives, tmp_path, monkeypatch):
    given = ["train.precision=16-mixed", "train.steps=1", "train.clip_norm=0.001"]
    norms = {}
    for scale in (2.0**4, 2.0**8):
        in_16_bits(monkeypatch, scale)
        run = tmp_path / str(scale)
        train(small(drives, *given), run)
        (row,) = [json.loads(line) for line in (run / "log.jsonl").open() if '"train"' in line]
        norms[scale] = row["gradient_norm"]
        assert load_checkpoint(run / "last.pt")["precision"]["scale"] == scale
    assert norms[2.0**8] == pytest.approx(norms[2.0**4], rel=0.2)


def test_a_scale_that_is_too_large_costs_steps_and_not_the_run(drives, tmp_path, monkeypatch):
    in_16_bits(monkeypatch, 2.0**30)
    given = ["train.precision=16-mixed", "train.steps=2", "train.val_every=1000"]
    trainer = Trainer(small(drives, *given), tmp_path / "run", False)
    before = {k: v.clone() for k, v in trainer.student.named_parameters()}
    trainer.run()
    assert trainer.skipped == 2
    assert same(dict(trainer.student.named_parameters()), before)
    monkeypatch.setattr(trainer_module, "MOST_SKIPPED", 3)
    longer = small(drives, "train.precision=16-mixed", "train.steps=8", "train.val_every=1000")
    with pytest.raises(ValueError, match=r"gradient is (inf|nan); step 5, frames"):
        train(longer, tmp_path / "run", resume=True)
