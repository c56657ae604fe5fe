"""The training loop: seeded, resumable, ended by a number of steps or by the clock."""

import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from xmem.device import multiplies_bfloat16
from xmem.errors import InputError
from xmem.networks.xmem import XMem
from xmem.training.clips import BatchShape, ClipSource
from xmem.training.forward import ClipPlan, clip_loss, fold_frozen_norms, to_network
from xmem.training.recipe import Recipe

log = logging.getLogger("xmem")

PREFETCH = 3  # steps in preparation per worker
NEW_PARTS = re.compile("fuser|hidden")  # of the value encoder: start from nothing
PLAN_STREAM = 1_000_003  # sets the random numbers of a step's plan apart from those of its clips


@dataclass(frozen=True)
class RunSettings:
    """One run. Exactly one of `steps` and `minutes` ends it; the schedule follows whichever is given.

    folder: checkpoints and log. workers: processes that make clips (0 = none).
    save_minutes, validate_minutes: how often; validation also runs at the end. validate_size: pixels, for the log.
    """

    folder: Path
    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    workers: int = 1
    save_minutes: float = 4.0
    validate_minutes: float = 15.0
    validate_size: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError("Give either a number of steps or a number of minutes for the training run.")

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the run that is done, 0..1; elapsed in seconds."""
        if self.minutes is None:
            return min(1.0, step / (self.steps or 1))
        return min(1.0, elapsed / (60 * self.minutes))


def parameter_groups(model: nn.Module, recipe: Recipe, encoders: tuple[str, ...]) -> list[dict]:
    """AdamW's groups: encoders (their names' beginnings) and the rest, each with and without weight decay (norms and
    biases have none)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pretrained = name.startswith(encoders) and not NEW_PARTS.search(name)
            groups.setdefault((pretrained, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": recipe.encoder_rate if pretrained else recipe.rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def freeze(model: XMem, recipe: Recipe) -> None:
    """Fix batch-norm statistics everywhere, and all of the lite key encoder's first blocks."""
    model.eval()  # no layer but batch norm knows the difference
    fold_frozen_norms(model)
    if recipe.frozen_blocks:
        for part in (model.key_encoder.stem, *model.key_encoder.blocks[: recipe.frozen_blocks]):
            part.requires_grad_(False)


_worker_source: list[ClipSource] = []  # the one clip source of a worker process


def _start_worker(source: ClipSource) -> None:
    cv2.setNumThreads(1)
    _worker_source[:] = [source]


def _make_batch(job: "BatchJob") -> "Batch":
    return job.make(_worker_source[0])


@dataclass(frozen=True)
class BatchJob:
    """What decides one micro-batch: its shape, and the seed of its clips and of its plan."""

    shape: BatchShape
    max_gap: int
    seed: tuple[int, ...]

    def make(self, source: ClipSource) -> "Batch":
        """The clips of this job."""
        plan = ClipPlan.random(np.random.default_rng([*self.seed, PLAN_STREAM]), self.shape.frames)
        return Batch(self.shape, *source.batch(self.shape, self.seed, self.max_gap), plan)


@dataclass(frozen=True)
class Batch:
    """One micro-batch: frames uint8 [B, T, H, W, 3], index masks uint8 [B, T, H, W], and which frames it remembers."""

    shape: BatchShape
    frames: np.ndarray
    labels: np.ndarray
    plan: ClipPlan


class Trainer:
    """Trains one network on one source of clips.

    validate: called with the averaged network now and then; returns a dict of scores for the log.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        source: ClipSource,
        settings: RunSettings,
        device: torch.device,
        validate: Callable[[dict[str, Tensor]], dict] | None = None,
    ):
        self.recipe, self.source, self.settings, self.device, self.validate = recipe, source, settings, device, validate
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.prepare()
        self.optimizer = torch.optim.AdamW(self.parameter_groups(), lr=0.0)
        self.trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}
        self.half = self._half_precision()
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half is torch.float16)
        self.lanes = self._make_lanes()
        self.step, self.elapsed, self.best = 0, 0.0, -1.0
        settings.folder.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Fix what training leaves as it is."""
        assert isinstance(self.model, XMem)
        freeze(self.model, self.recipe)

    def parameter_groups(self) -> list[dict]:
        """AdamW's groups."""
        return parameter_groups(self.model, self.recipe, ("key_encoder.", "value_encoder."))

    def _half_precision(self) -> torch.dtype | None:
        """Mixed precision on CUDA, and on a CPU that multiplies bfloat16 natively (but see `fold_frozen_norms`)."""
        if self.device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if self.device.type == "cpu" and multiplies_bfloat16() else None

    def _autocast(self) -> AbstractContextManager:
        """Without the cache of cast weights: lanes would share it, and gradients of all frames would add up in it."""
        return torch.autocast(self.device.type, self.half, cache_enabled=False) if self.half else nullcontext()

    def _make_lanes(self) -> ThreadPoolExecutor:
        """Threads that compute micro-batches side by side: on a CPU each on its own core, else one after another.

        On a busy machine this was measured 2 to 4 times as fast as all cores in each operation: one thread that has to
        wait for its core holds up a step once and not at every operation.
        """
        if self.device.type != "cpu":
            return ThreadPoolExecutor(1)
        threads = torch.get_num_threads()  # OMP_NUM_THREADS says how much of the machine a run may take
        lanes = min(self.recipe.micro_batches, threads)
        return ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(threads // lanes,))

    @property
    def progress(self) -> float:
        return self.settings.progress(self.step, self.elapsed)

    def run(self) -> None:
        """Train until steps or minutes are used up, then validate and save."""
        started = time.monotonic() - self.elapsed
        saved = validated = self.elapsed
        with BatchQueue(self) as batches:
            while self.progress < 1:
                self._train_step(next(batches))
                self.elapsed = time.monotonic() - started
                if self.elapsed - validated > 60 * self.settings.validate_minutes:
                    self._validate()
                    validated = time.monotonic() - started
                if self.elapsed - saved > 60 * self.settings.save_minutes:
                    self.save()
                    saved = self.elapsed
        self._validate()
        self.save()

    def _train_step(self, batches: list[Batch]) -> None:
        """One step of the optimiser on the mean loss of some micro-batches."""
        begun, progress = time.monotonic(), self.progress
        share = self.recipe.loss_share(progress)
        results = list(self.lanes.map(lambda batch: self._gradients(batch, share), batches))
        loss = float(np.mean([loss for loss, _ in results]))
        for parameter, *gradients in zip(self.trained.values(), *(gradients for _, gradients in results), strict=True):
            present = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = torch.stack(present).sum(0) / len(batches) if present else None
        factor = self.recipe.rate_factor(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self.recipe.clip_norm)
        if torch.isfinite(norm):
            self.scaler.step(self.optimizer)
        else:
            log.warning("step %d: gradient is not finite, step skipped", self.step)
        self.scaler.update()
        self.step += 1
        self._update_average()
        self._log(
            step=self.step, progress=round(progress, 5), loss=round(loss, 5), share=round(share, 3),
            norm=round(norm.item(), 3), rate=self.recipe.rate * factor, seconds=round(time.monotonic() - begun, 3),
            shapes=[[b.shape.batch, b.shape.frames, b.shape.height, b.shape.width, b.shape.objects] for b in batches],
        )  # fmt: skip

    def _gradients(self, batch: Batch, share: float) -> tuple[float, tuple[Tensor | None, ...]]:
        """Loss and (scaled) gradients of one micro-batch, in the order of `trained`."""
        images = to_network(batch.frames, self.device)
        truth = torch.from_numpy(batch.labels).to(self.device, non_blocking=True).long()
        assert isinstance(self.model, XMem)
        with self._autocast():
            loss = clip_loss(
                self.model, images, truth, batch.shape.objects, batch.plan, share, self.recipe.reading_weight
            )
        gradients = torch.autograd.grad(self.scaler.scale(loss), list(self.trained.values()), allow_unused=True)
        return loss.item(), gradients

    def _update_average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.trained.values()), 1 - decay)

    def batch_jobs(self, step: int) -> list[BatchJob]:
        """The micro-batches of `step`, as far ahead as the schedule is known."""
        progress = self.settings.progress(step, self.elapsed)
        seeds = [(self.settings.seed, step, part) for part in range(self.recipe.micro_batches)]
        max_gap = self.recipe.stage(progress).max_gap
        return [BatchJob(self.recipe.shape(np.random.default_rng(seed), progress), max_gap, seed) for seed in seeds]

    def averaged_state(self) -> dict[str, Tensor]:
        """The network's state dict with averaged parameters, on the CPU."""
        state = self.model.state_dict() | self.average
        return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}

    def _validate(self) -> None:
        if self.validate is None:
            return
        begun = time.monotonic()
        try:
            scores = self.validate(self.averaged_state())
        except Exception:  # hours of training must not end with a fault in their judge
            log.exception("validation failed at step %d; training goes on", self.step)
            return
        size = {"size": self.settings.validate_size} if self.settings.validate_size else {}
        self._log(step=self.step, progress=round(self.progress, 5), validation=scores, **size,
                  seconds=round(time.monotonic() - begun, 1))  # fmt: skip
        export(self.averaged_state(), self.settings.folder / "latest.safetensors", self.description(scores))
        if scores["mean"] > self.best:
            self.best = scores["mean"]
            export(self.averaged_state(), self.settings.folder / "best.safetensors", self.description(scores))

    def description(self, scores: dict | None = None) -> dict[str, str]:
        """Metadata of an exported file."""
        about = {"architecture": "xmem-lite" if self.recipe.sizes.encoder == "lite" else "XMem", "step": str(self.step)}
        return about | ({"score": f"{scores['mean']:.2f}"} if scores else {})

    def _log(self, **record: object) -> None:
        with open(self.settings.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def _forget_later_records(self) -> None:
        """Drop what the log has of steps after the saved one: they are about to be made again."""
        path = self.settings.folder / "log.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= self.step]
            path.write_text("".join(line + "\n" for line in lines))

    def save(self) -> None:
        """Write everything that a resumed run needs, in one replace."""
        state = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average,
            "scaler": self.scaler.state_dict(), "step": self.step, "elapsed": self.elapsed, "best": self.best,
            "seed": self.settings.seed,
        }  # fmt: skip
        path = self.settings.folder / "state.pt"
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def resume(self) -> bool:
        """Continue the run in the settings' folder; False where there is none yet."""
        path = self.settings.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["seed"] != self.settings.seed:
            raise InputError(f"The run in {self.settings.folder} has seed {state['seed']}: resume it with that seed.")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.step, self.elapsed, self.best = state["step"], state["elapsed"], state["best"]
        self._forget_later_records()
        log.info("resumed at step %d", self.step)
        return True


class BatchQueue:
    """The micro-batches of each step in order, prepared ahead by worker processes; context manager and iterator."""

    def __init__(self, trainer: Trainer):
        self.trainer, self.workers, self.next_step = trainer, trainer.settings.workers, trainer.step
        self.pool: ProcessPoolExecutor | None = None
        self.waiting: deque[list[Future]] = deque()

    def __enter__(self) -> "BatchQueue":
        if self.workers:
            spawn = get_context("spawn")  # a fork would inherit torch's threads
            self.pool = ProcessPoolExecutor(self.workers, spawn, _start_worker, (self.trainer.source,))
        return self

    def __exit__(self, *exception: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        if self.pool is None:
            return [job.make(self.trainer.source) for job in self.trainer.batch_jobs(self.trainer.step)]
        while len(self.waiting) < PREFETCH * self.workers:
            self.waiting.append([self.pool.submit(_make_batch, job) for job in self.trainer.batch_jobs(self.next_step)])
            self.next_step += 1
        return [future.result() for future in self.waiting.popleft()]


def export(state: dict[str, Tensor], path: Path, description: dict[str, str]) -> None:
    """Write a state dict as float16 safetensors with metadata, in one replace."""
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    tensors = {name: value.contiguous() for name, value in half.items()}
    save_file(tensors, path.with_suffix(".tmp"), metadata=description)
    os.replace(path.with_suffix(".tmp"), path)
