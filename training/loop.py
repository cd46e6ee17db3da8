"""The one training loop: a budget of samples, an average of the weights, checkpoints, every core.

On a CPU two processes of one thread train faster than one process of two threads. A step's batch is
therefore cut into SHARDS, each with random numbers of its own, which the processes share out: the
number of processes changes how long a training takes, and not the model. The budget counts samples
and not time, so a slow machine trains the same model, later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from training import muon, parallel
from training.workspace import Workspace

SAVE_EVERY = 60.0  # seconds
CLIP_NORM = 1.0
SHARDS = {"cpu": 4, "cuda": 1}  # of a batch

# A stage: a workspace -> the modules to train, and what turns a random generator, a batch size and
# the fraction of the budget that is spent into a loss.
Loss = Callable[[np.random.Generator, int, float], torch.Tensor]
Stage = Callable[[Workspace], tuple[nn.ModuleDict, Loss]]


@dataclass(frozen=True)
class Plan:
    """How long a stage trains and how fast: samples in all, samples a step, peak learning rates
    (Muon's for matrices and kernels, or None, and AdamW's for the rest)."""

    samples: int
    batch: int
    muon: float | None
    adam: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)

    def slower(self, factor: float) -> Plan:
        """The same plan with both rates times `factor`.

        >>> Plan(samples=9, batch=3, muon=0.02).slower(0.5).muon
        0.01
        """
        return replace(self, muon=self.muon and self.muon * factor, adam=self.adam * factor)


class State:
    """What a checkpoint holds: modules in training, their optimizers and the average weights."""

    def __init__(self, modules: nn.ModuleDict, plan: Plan) -> None:
        self.modules, self.step, self.seen = modules, 0, 0
        self.parameters = [p for p in modules.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        matrices, others = muon.split(modules) if plan.muon else ([], self.parameters)
        adam = torch.optim.AdamW(others, betas=plan.betas, weight_decay=1e-2, fused=True)
        self.optimizers = [(adam, plan.adam)]
        if matrices:
            self.optimizers.append((muon.Muon(matrices), plan.muon))

    def load(self, path: Path, device: torch.device) -> None:
        """Go on from a checkpoint."""
        saved = torch.load(path, map_location=device, weights_only=True)
        self.modules.load_state_dict(saved["modules"])
        for (optimizer, _), state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        torch._foreach_copy_(self.average, saved["average"])
        self.step, self.seen = saved["step"], saved["seen"]

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill leaves the one before."""
        state = {
            "modules": self.modules.state_dict(), "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "step": self.step, "seen": self.seen,
        }  # fmt: skip
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def update_average(self) -> None:
        """Average the weights over about the last quarter of the steps so far."""
        torch._foreach_lerp_(
            self.average, [p.detach() for p in self.parameters], 4 / (self.step + 4)
        )


def learning_rate(fraction: float) -> float:
    """The share of the peak rate: a warm-up over 3% of the budget, then a cosine down to 2%.

    >>> round(learning_rate(0.03), 3), round(learning_rate(1.0), 3)
    (1.0, 0.02)
    """
    if fraction < 0.03:
        return (fraction + 1e-3) / 0.031
    return float(0.02 + 0.49 * (1 + np.cos(np.pi * (fraction - 0.03) / 0.97)))


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: some CPUs emulate it, and so do old GPUs."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def step(state: State, loss_of: Loss, plan: Plan, device: torch.device, seed: int) -> float:
    """Train on one batch and return the mean loss of this process's shards."""
    fraction, shards, total = state.seen / plan.samples, SHARDS.get(device.type, 1), 0.0
    for parameter in state.parameters:
        parameter.grad = torch.zeros_like(parameter)
    for shard in range(parallel.rank(), shards, parallel.world_size()):
        rng = np.random.default_rng([seed, state.step, shard])
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
            loss = loss_of(rng, plan.batch // shards, fraction) / shards
        loss.backward()
        total += loss.item()
    parallel.add_up([parameter.grad for parameter in state.parameters])
    nn.utils.clip_grad_norm_(state.parameters, CLIP_NORM)
    for optimizer, peak in state.optimizers:
        optimizer.param_groups[0]["lr"] = peak * learning_rate(fraction)
        optimizer.step()
    state.step, state.seen = state.step + 1, state.seen + plan.batch
    state.update_average()
    return total * shards / len(range(parallel.rank(), shards, parallel.world_size()))


def train(stage: Stage, name: str, work: Workspace, plan: Plan, seed: int) -> None:
    """Resume, train until the budget is spent, save at times: in each of the processes."""
    torch.manual_seed(seed)
    modules, loss_of = stage(work)
    state, path = State(modules, plan), checkpoint(work, name)
    if path.exists():
        state.load(path, work.device)
    first, saved, parent, running = parallel.rank() == 0, time.monotonic(), os.getppid(), None
    bar = tqdm(desc=name, total=plan.samples, initial=state.seen, unit=" samples", unit_scale=True,
               disable=not first, mininterval=5)  # fmt: skip
    while state.seen < plan.samples:
        if parallel.world_size() > 1 and os.getppid() != parent:
            return  # the parent was killed
        loss = step(state, loss_of, plan, work.device, seed)
        running = loss if running is None else 0.98 * running + 0.02 * loss
        bar.set_postfix(step=state.step, loss=f"{running:.4f}", refresh=False)
        bar.update(plan.batch)
        if first and time.monotonic() - saved > SAVE_EVERY:
            state.save(path)
            saved = time.monotonic()
    bar.close()
    if first:
        state.save(path)


def fit(stage: Stage, name: str, work: Workspace, plan: Plan, *, processes: int | None = None,
        seed: int = 0) -> None:  # fmt: skip
    """Train what `stage` builds until it has seen `plan.samples` in all, and keep a checkpoint.

    The same call goes on where a killed one stopped, at most a minute back, and returns at once
    when the budget is spent. On a CPU as many processes as cores share the work, but for SHARDS at
    most, unless `processes` says otherwise.
    """
    if is_spent(work, name, plan):
        return
    shards = SHARDS.get(work.device.type, 1)
    world = min(processes or os.cpu_count() or 1, shards)
    parallel.spawn(world, train, stage, name, work, plan, seed)


def is_spent(work: Workspace, name: str, plan: Plan) -> bool:
    """Whether what has been trained so far has seen `plan.samples`."""
    if not (path := checkpoint(work, name)).exists():
        return False
    saved = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    return bool(saved["seen"] >= plan.samples)


def checkpoint(work: Workspace, name: str) -> Path:
    """Where the state of a stage of this name is kept."""
    return work.folder / f"{name}.checkpoint.pt"


def load(stage: Stage, name: str, work: Workspace) -> nn.ModuleDict:
    """What `fit` has made so far, with the averaged weights, or what `stage` starts from."""
    modules, _ = stage(work)
    if (path := checkpoint(work, name)).exists():
        saved = torch.load(path, map_location=work.device, weights_only=True)
        modules.load_state_dict(saved["modules"])
        trained = [p for p in modules.parameters() if p.requires_grad]
        for parameter, mean in zip(trained, saved["average"], strict=True):
            parameter.data.copy_(mean)
    return modules.eval().requires_grad_(False)
