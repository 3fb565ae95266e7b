"""One training run: the loop, and what happens at the steps where something is due."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from tqdm import tqdm

from common import checkpoints
from common.errors import UserError
from common.quiet import known_noise_off
from common.settings import as_json
from common.stop_signals import Stopped, StopSignals
from dataset.batches import Batch
from trainer import export, hub, processes
from trainer.config import TrainConfig
from trainer.outlook import TIMED_UPDATES, time_left
from trainer.parts import Parts
from trainer.progress import Window, mean_of
from trainer.run_folder import RunFolder, peak_memory_gb

with known_noise_off():
    from accelerate import Accelerator


class TrainingError(UserError):
    """A run that cannot go on; the message says why and what to do."""


class TrainingRun:
    """One run, from where its parts are to its pipeline folder."""

    def __init__(self, config: TrainConfig, accelerator: Accelerator, parts: Parts, folder: RunFolder | None,
                 stop: StopSignals) -> None:
        """`folder` is the open run folder in the main process and None in the others."""
        self.config, self.accelerator, self.folder, self.stop = config, accelerator, folder, stop
        self.parts, self.train_state = parts, parts.train_state
        self.step = self.saved = parts.step
        self.first: int | None = parts.step  # until the time that is left has been said
        self.window = Window()

    def run_all(self) -> Path:
        """Train to the last step, saving and sampling on the way; on a signal, save and raise Stopped."""
        if self.folder is not None:
            self.folder.write_settings(self.config, self.parts.card_metadata)
            self.folder.open_reports(self.step, self.config.report_to in ("tensorboard", "all"))
        several = self.accelerator.num_processes > 1  # these stop together, at a step that they agree on
        try:
            with self.stop.deferred() if several else nullcontext():
                self.loop()
                return self.finish()
        except Stopped:
            if self.window.losses:
                self.measure()
            self.save()
            self.accelerator.print(f"{checkpoints.checkpoint_name(self.step)} is saved in {self.config.output_dir}",
                                   file=sys.stderr)
            raise

    def loop(self) -> None:
        """The algorithm: take a batch, learn from it; and now and then report, save and sample."""
        config = self.config
        self.window.restart()
        if self.step > 0 and self.grid_is_due():
            self.draw_samples(again=False)  # a run that was stopped while it drew them left none
        with (self.upcoming() as batches,
              tqdm(total=config.max_train_steps, initial=self.step, desc="training", unit="step",
                   disable=self.folder is None) as bar):
            while self.step < config.max_train_steps:
                with self.stop.deferred():
                    self.window.losses.append(self.train_step(next(batches)))
                    self.step += 1
                bar.update()
                if self.is_due(config.logging_steps) or self.step == config.max_train_steps:
                    bar.set_postfix(self.measure())
                    self.say_time_left()
                    self.agree_to_stop()
                if self.is_due(config.checkpointing_steps):
                    self.save()
                if self.grid_is_due():
                    self.draw_samples()

    @contextmanager
    def upcoming(self) -> Iterator[Iterator[list[Batch]]]:
        """The batches from this step on. Take them in a deferred section: a signal must not break into their locks."""
        batches = self.parts.batches.from_step(self.step, self.config.max_train_steps)
        try:
            yield batches
        finally:
            with self.stop.deferred():
                batches.close()

    def train_step(self, batches: Sequence[Batch]) -> torch.Tensor:
        """One update; returns its loss and that of each term, (1 + terms,), on the device, not yet synchronised."""
        losses = []
        for batch in batches:
            with self.train_state.accumulate(last=batch is batches[-1]):
                with self.accelerator.autocast():
                    terms = [term.weight * term(self.train_state.forward, batch) for term in self.parts.terms]
                    loss = sum(terms)
                self.accelerator.backward(loss.mean() / len(batches))
            losses.append(torch.stack([one.detach().mean() for one in (loss, *terms)]))
        losses = mean_of(losses)
        if self.accelerator.device.type == "cpu":  # a GPU would be waited for: `check` comes before anything is saved
            self.check([losses], self.step + 1)
        self.norm = self.train_state.update(self.step)
        return losses

    def is_due(self, every: int) -> bool:
        """Whether something that is done every so many updates is due now; 0 is never."""
        return every > 0 and self.step % every == 0

    def grid_is_due(self) -> bool:
        """Whether a sample grid other than the last one is due now."""
        return self.is_due(self.config.validation_steps) and self.step < self.config.max_train_steps

    def measure(self) -> dict[str, str]:
        """Wait for the device, check and report the losses since the last time; returns them for the progress bar."""
        with self.stop.deferred():
            self.check(self.window.losses, self.step)
            loss, *terms = self.accelerator.reduce(mean_of(self.window.losses), "mean").tolist()
            rate = self.window.updates_per_second() * self.parts.plan.settings.size
            if self.folder is not None:
                by_name = {f"loss/{term.name}": mean for term, mean in zip(self.parts.terms, terms, strict=True)}
                self.folder.report(self.step, {
                    "loss": loss, **by_name, "learning_rate": self.train_state.optimizers.learning_rate,
                    "gradient_norm": self.norm.item(), "images_per_s": round(rate, 2),
                    "peak_memory_gb": round(peak_memory_gb(self.accelerator.device), 3)})
            self.updates_per_second = rate / self.parts.plan.settings.size
            self.window.restart()
        return {"loss": f"{loss:.4f}", "images": f"{rate:.1f}/s"}

    def say_time_left(self) -> None:
        """Say once, when the rate is one to go by, how long the rest will take: that of the last updates."""
        if self.first is None or self.step - self.first < TIMED_UPDATES or self.step >= self.config.max_train_steps:
            return
        if self.folder is not None:
            said = time_left(self.config.max_train_steps - self.step, self.updates_per_second)
            tqdm.write(f"step {self.step} of {self.config.max_train_steps}: {said}")
        self.first = None

    def check(self, losses: Sequence[torch.Tensor], last_step: int) -> None:
        """Raise TrainingError where one of the losses (1 + terms,) up to `last_step` (updates begun) is not finite."""
        totals = torch.stack(list(losses))[:, 0].tolist()
        for begun, loss in zip(range(last_step, 0, -1), reversed(totals), strict=False):
            if not math.isfinite(loss):
                rows = self.parts.plan[begun - 1].rows.unique().tolist()
                raise TrainingError(
                    f"the loss of step {begun} is {loss}; its update was not made. It drew the rows "
                    f"{', '.join(map(str, rows[:16]))}{', ...' if len(rows) > 16 else ''}. The last checkpoint is that "
                    f"of step {self.saved}. Lower --learning_rate, or use --mixed_precision bf16 or no.")

    def save(self) -> None:
        """Write the checkpoint of this step, by the main process, where there is none yet."""
        if self.saved == self.step:
            return
        with self.stop.deferred(), self.window.paused():
            if self.window.losses:
                self.check(self.window.losses, self.step)
            if name := self.train_state.not_finite():
                raise TrainingError(f"{name} is not finite after {self.step} steps, so this is not saved. The last "
                                    f"checkpoint is that of step {self.saved}. Lower --learning_rate.")
            if self.folder is not None:
                manifest = {"settings": as_json(self.config), **self.parts.provenance, **self.train_state.manifest()}
                checkpoints.save(self.folder.path, self.step, self.train_state.files(), manifest,
                                 self.config.checkpoints_total_limit)
            self.saved = self.step
            self.accelerator.wait_for_everyone()

    def draw_samples(self, again: bool = True) -> Path | None:
        """Draw the sample grid with the averaged weights, by the main process; a signal ends it between two steps.

        Not `again`: where that of this step is there, it stays.
        """
        path = None
        with self.stop.deferred(), self.window.paused():
            if self.folder is not None and (again or not self.folder.grid_path(self.step).exists()):
                alone = self.accelerator.num_processes == 1
                with self.train_state.averaged() as unet:
                    grid, score = self.parts.sample_grid.grid(unet, self.stop.check if alone else lambda: None)
                path = self.folder.save_grid(self.step, grid)
                if score:
                    self.folder.report(self.step, score)
            self.accelerator.wait_for_everyone()
        return path

    def finish(self) -> Path:
        """Save the last checkpoint, grid and pipeline with its card, and publish them."""
        self.save()
        grid = self.draw_samples()
        processes.leave(self.accelerator)  # an upload may take longer than the others can be kept waiting
        if self.folder is not None:
            with self.stop.deferred(), self.train_state.averaged() as unet:
                pipeline_dir = export.save_pipeline(self.config, unet, self.parts.card_metadata, grid,
                                                    self.parts.component_names)
            print(f"pipeline: {pipeline_dir}\nsamples:  {grid}")
            hub.push(self.config, self.parts.card_metadata)
        return self.config.output_dir / "pipeline"

    def agree_to_stop(self) -> None:
        """Of several processes, learn whether one was asked to stop; raise Stopped in all of them then.

        A signal that comes in while they ask each other is kept for the next time.
        """
        if self.accelerator.num_processes > 1:
            number = torch.tensor(self.stop.received or 0, device=self.accelerator.device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            if agreed := int(number.item()):
                self.stop.received = agreed
                self.stop.check()
