"""The training loop: Lightning Fabric underneath, every step visible."""

from __future__ import annotations

import copy
import logging
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from rosam_core.assembly import create_method, licence, networks, training_data
from rosam_core.checkpoint import git_commit, load_checkpoint, save_checkpoint
from rosam_core.config import to_yaml
from rosam_core.evaluation.student import evaluate_student
from rosam_core.loader import batches, to_device
from rosam_core.methods.base import Batch, Term
from rosam_core.models.common import freeze_norms
from rosam_core.recipe import Recipe, check_resumed
from rosam_core.training_log import TrainingLog
from rosam_core.whole_file import claim, remove_leavings

log = logging.getLogger(__name__)

MOST_SKIPPED = 50
"""Steps in a row without an update: finding a scale for gradients in 16 bits takes fewer."""


def train(recipe: Recipe, out: str | Path, resume: bool = False) -> dict[str, Any]:
    """Trains a student; writes checkpoints, logs and the resolved recipe into a folder.

    Args:
        recipe: What to do.
        out: Folder for `last.pt`, `best.pt`, `log.jsonl`, `recipe.yaml` and TensorBoard files.
        resume: Continue from `out/last.pt`, exactly where it stopped.

    Returns:
        `step`, `minutes`, `stopped` (by a signal) and the last `validation` figures.

    Raises:
        FileNotFoundError: Drives or the checkpoint to resume from are missing.
        ValueError: The recipe does not fit the data or the checkpoint, or a loss is not finite.
        BlockingIOError: Another process trains into the folder.
    """
    trainer = Trainer(recipe, Path(out), resume)
    with trainer.claim:
        return trainer.run()


class Trainer:
    """One training run; see `train`."""

    def __init__(self, recipe: Recipe, out: Path, resume: bool) -> None:
        self.recipe, self.out = recipe, out
        options = recipe.train
        if (out / "last.pt").exists() and not resume:
            raise ValueError(f"{out} already holds a run: add --resume, or choose another --out")
        torch.set_num_threads(options.threads)
        processes, machines = _torchrun_processes()
        self.fabric = Fabric(
            accelerator=options.accelerator,
            strategy="ddp" if processes * machines > 1 else "auto",
            devices=processes,
            num_nodes=machines,
            precision=options.precision,  # type: ignore[arg-type]
        )
        self.fabric.launch()
        self.fabric.seed_everything(recipe.seed, verbose=False)

        self.samples, self.validation = training_data(recipe)
        self.networks = networks(recipe)
        if options.channels_last:
            for network in self.networks.values():
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.student = self.networks["student"]  # its parameters; the method sees it wrapped
        self.ema = copy.deepcopy(self.student).eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(
            _parameter_groups(self.networks.values(), options.weight_decay),
            lr=options.learning_rate,
        )
        wrapped = {}
        for name, network in self.networks.items():
            compiled: Any = torch.compile(network) if options.compile else network
            wrapped[name] = self.fabric.setup_module(compiled)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        self.ema.to(self.fabric.device)
        self.method = create_method(recipe, wrapped, self.fabric.device)
        self.licence = licence(recipe)

        self.step = 0
        self.elapsed_s = 0.0  # training time of this run and those it resumes
        self.best = math.inf
        self.focal_range = [math.inf, 0.0]
        self.last_validation: dict[str, Any] = {}
        self.stopped = False
        self.skipped = 0  # steps in a row whose gradient is not finite in 16 bits
        if resume:
            self._restore(out / "last.pt")
        out.mkdir(parents=True, exist_ok=True)
        self.claim: Any = claim(out / ".lock") if self.fabric.is_global_zero else nullcontext()
        if self.fabric.is_global_zero:
            remove_leavings(out, (".last.pt.*.tmp", ".best.pt.*.tmp"))
            (out / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")

    # -- the loop -------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Runs to the last step, the last minute or the first SIGINT or SIGTERM."""
        options = self.recipe.train
        zero = self.fabric.is_global_zero
        handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        records = TrainingLog(self.out, self.step, zero)
        progress = tqdm(
            total=options.steps,
            initial=self.step,
            unit="step",
            disable=None if zero else True,
            dynamic_ncols=True,
        )
        stream = self._batches()
        started = time.monotonic() - self.elapsed_s
        before = (self.step, self.elapsed_s)
        recent: list[dict[str, float]] = []
        try:
            last = self._progress() >= 1
            while not last:
                batch, focal = next(stream)
                recent.append(self._optimise(batch))
                self.focal_range[0] = min(self.focal_range[0], float(focal.min()))
                self.focal_range[1] = max(self.focal_range[1], float(focal.max()))
                self.step += 1
                self.elapsed_s = time.monotonic() - started
                is_stopped = self._agree()
                progress.update()
                last = self._progress() >= 1 or is_stopped
                if self.step % options.log_every == 0 or last:
                    seconds = max(self.elapsed_s - before[1], 1e-9)
                    rate = (self.step - before[0]) * len(focal) * self.fabric.world_size / seconds
                    # Batches differ by more than a run improves: their mean shows the trend.
                    values = {k: sum(v[k] for v in recent) / len(recent) for k in recent[0]}
                    recent.clear()
                    progress.set_postfix(loss=f"{values['loss']:.3f}", images_s=f"{rate:.1f}")
                    records.write("train", self.step, self.elapsed_s / 60, values)
                if self.step % options.val_every == 0 or (last and not is_stopped):
                    self._validate(records)
                    started = time.monotonic() - self.elapsed_s  # validation is not training time
                if self.step % options.checkpoint_every == 0 or last:
                    self._save("last.pt")
        finally:
            progress.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            records.close()
        return {
            "step": self.step,
            "minutes": self.elapsed_s / 60,
            "stopped": self.stopped,
            "validation": self.last_validation,
        }

    def _optimise(self, batch: Batch) -> dict[str, float]:
        """Makes one optimisation step; returns the loss, its terms, the rate and gradient norm."""
        options = self.recipe.train
        # What a step draws depends on it alone, so that a resumed run draws the same.
        numbers = np.random.SeedSequence((self.recipe.seed, self.step, self.fabric.global_rank))
        torch.manual_seed(int(numbers.generate_state(1)[0]))
        rate = options.learning_rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for network in self.networks.values():
            network.train()
        if options.frozen_norms:
            freeze_norms(self.student)
        with self.fabric.autocast():
            terms = self.method.losses(batch, self.step)
        means = {name: term.mean() for name, term in terms.items()}
        shares, shown = self._pooled(terms, means)
        loss = torch.stack(
            [means[name] * term.weight * shares[name] for name, term in terms.items()]
        ).sum()
        if not bool(torch.isfinite(loss)):  # device-to-host sync, once a step
            raise ValueError(self._not_finite(terms, means))
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = float(
            self.fabric.clip_gradients(
                self.student, self.optimizer, max_norm=options.clip_norm, error_if_nonfinite=False
            )  # of all networks: those that the optimizer knows
        )
        self.skipped = 0 if math.isfinite(norm) else self.skipped + 1
        if self.skipped > (MOST_SKIPPED if options.precision == "16-mixed" else 0):
            raise ValueError(f"gradient is {norm}; {self._frames()}")
        self.optimizer.step()  # in 16 bits it makes no step with a gradient that is not finite
        self._average_weights()
        total = sum(shown[name] * term.weight for name, term in terms.items())
        norm = 0.0 if self.skipped else norm
        return {"loss": total, **shown, "rate": rate, "gradient_norm": norm}

    def _pooled(
        self, terms: Mapping[str, Term], means: Mapping[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Returns by what each mean is multiplied here, and the means over all processes.

        Processes average their gradients: a process with a third of all that a term counts has
        to have a third of its say, not one over their number.
        """
        world = self.fabric.world_size
        here = torch.stack([mean.detach().double() for mean in means.values()])
        if world == 1:
            return dict.fromkeys(terms, 1.0), dict(zip(terms, here.tolist(), strict=True))
        count = torch.stack([term.count().double() for term in terms.values()])
        state = torch.stack([count, count * here])
        total, sums = self.fabric.all_reduce(state.clone(), reduce_op="sum")
        total = total.clamp(min=1e-6)
        share, mean = (count * world / total).tolist(), (sums / total).tolist()
        return dict(zip(terms, share, strict=True)), dict(zip(terms, mean, strict=True))

    def _agree(self) -> bool:
        """Shares the first process's clock, signals, and the focal lengths, among all of them.

        Returns whether the run ends with this step. A signal that comes later ends it with the
        next one: processes that differ about it would wait for each other.
        """
        if self.fabric.world_size == 1:
            return self.stopped
        clock = self.elapsed_s if self.fabric.is_global_zero else 0.0
        nearest, farthest = self.focal_range
        state = torch.tensor([clock, self.stopped, -nearest, farthest], dtype=torch.float64)
        state = self.fabric.all_reduce(state.to(self.fabric.device), reduce_op="max")
        self.elapsed_s, self.stopped = float(state[0]), bool(state[1])
        self.focal_range = [-float(state[2]), float(state[3])]
        return bool(state[1])

    def _progress(self) -> float:
        """Returns how much of the run is done, in [0, 1], by steps or by time."""
        options = self.recipe.train
        done = self.step / options.steps
        if options.max_minutes is not None:
            done = max(done, self.elapsed_s / 60 / options.max_minutes)
        return done

    def _schedule(self) -> float:
        """Returns the factor of the learning rate: linear warm-up, then half a cosine to 1 %."""
        warm = min(1.0, (self.step + 1) / max(self.recipe.train.warmup_steps, 1))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(self._progress(), 1.0))))

    @torch.no_grad()
    def _average_weights(self) -> None:
        """Moves the averaged weights towards the student's, faster in the first steps."""
        decay = min(self.recipe.train.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(
            self.ema.state_dict().values(), self.student.state_dict().values(), strict=True
        )
        for average, current in pairs:
            if average.is_floating_point():
                average.lerp_(current.to(average.dtype), 1 - decay)
            else:
                average.copy_(current)

    # -- data -----------------------------------------------------------------------------------

    def _batches(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yields batches on the device, and their focal lengths, from the current step on."""
        fabric, options = self.fabric, self.recipe.train
        for batch in batches(
            self.samples,
            self.step,
            options.batch_size,
            self.recipe.data.workers,
            fabric.global_rank,
            fabric.world_size,
            pin_memory=fabric.device.type == "cuda",
        ):
            yield to_device(batch, fabric.device, options.channels_last), batch["focal"]

    def _frames(self) -> str:
        size, world = self.recipe.train.batch_size, self.fabric.world_size
        first = (self.step * world + self.fabric.global_rank) * size
        names = ", ".join(self.samples.name(first + i) for i in range(size))
        return (
            f"step {self.step}, frames {names}. The last checkpoint is intact: look at these "
            "frames, lower train.learning_rate or use train.precision=32-true, then --resume"
        )

    def _not_finite(self, terms: dict[str, Term], means: dict[str, Tensor]) -> str:
        """Returns which term of which frame is not finite."""
        size = self.recipe.train.batch_size
        first = (self.step * self.fabric.world_size + self.fabric.global_rank) * size
        for name, term in terms.items():
            if bool(torch.isfinite(means[name])):
                continue
            per_frame = term.map.reshape(size, -1)  # a map may hold several numbers of a frame
            bad = (~torch.isfinite(per_frame)).any(1).nonzero().flatten().tolist()
            frames = ", ".join(self.samples.name(first + i) for i in bad)
            return f"loss term {name} is not finite for {frames or 'the batch'}; {self._frames()}"
        return f"the loss is not finite; {self._frames()}"

    # -- what is written ------------------------------------------------------------------------

    def _validate(self, records: TrainingLog) -> None:
        if not self.fabric.is_global_zero or self.validation is None:
            return
        report = evaluate_student(
            self.ema,
            self.validation,
            self.recipe.train.batch_size,
            self.fabric.device,
            self.samples.is_metric,
        )
        self.last_validation = report
        flat = {
            f"{condition}/{name}": value
            for condition, figures in report.items()
            for name, value in figures.items()
        }
        records.write("val", self.step, self.elapsed_s / 60, flat)
        error = report["all"]["abs_rel"]
        tqdm.write(
            f"step {self.step}: AbsRel{'' if self.samples.is_metric else ', median-scaled,'} "
            + "  ".join(f"{c} {f['abs_rel']:.3f}" for c, f in report.items())
        )
        if error < self.best:
            self.best = error
            self._save("best.pt")

    def _save(self, name: str) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "step": self.step,
            "processes": self.fabric.world_size,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "focal_range": self.focal_range,
            "validation": self.last_validation,
            "recipe": to_yaml(self.recipe),
            "commit": git_commit(),
            "is_metric": self.samples.is_metric,
            "licence": self.licence,
        }
        save_checkpoint(self.out / name, state)

    def _restore(self, path: Path) -> None:
        state = load_checkpoint(path)
        try:
            for name, network in self.networks.items():
                network.load_state_dict(state["networks"][name])
            self.ema.load_state_dict(state["ema"])
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path} was trained with another model than {self.recipe.model.name}, or by "
                f"another method: {str(error).splitlines()[0]}"
            ) from error
        check_resumed(state["recipe"], self.recipe, self.out)
        if (before := state.get("processes", 1)) != (now := self.fabric.world_size):
            log.warning(
                "%s goes on with %d processes, not %d: with other samples", self.out, now, before
            )
        self.optimizer.load_state_dict(state["optimizer"])
        if precision := state.get("precision"):  # a run in 16 bits that began in others has none
            self.fabric.strategy.precision.load_state_dict(precision)
        self.step, self.elapsed_s = int(state["step"]), float(state["elapsed_s"])
        self.best, self.focal_range = float(state["best"]), list(state["focal_range"])
        self.last_validation = dict(state["validation"])

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = True  # the step in progress ends, then the run is saved


def _parameter_groups(networks: Iterable[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Returns weights, which decay, and biases and norms, which do not."""
    parameters = [p for network in networks for p in network.parameters()]
    weights = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _torchrun_processes() -> tuple[int, int]:
    """Returns the training processes on this machine and the machines, 1 and 1 on its own."""
    if not torch.distributed.is_torchelastic_launched():
        return 1, 1
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local
