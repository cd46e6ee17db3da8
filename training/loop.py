"""The one training loop: a budget of samples, an average of the weights, checkpoints, every core.

On a CPU two processes of one thread train faster than one process of two threads, so `fit` starts
one process a core and averages their gradients; on a GPU it is one process. The budget counts what
was seen and not the time it took, so that a slow machine, or one that other work shares, trains the
same model, later.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from PIL import Image
from torch import nn
from tqdm.auto import tqdm

from training import muon

SAVE_EVERY, PREVIEW_EVERY = 60.0, 600.0  # seconds
PATIENCE = 3600  # seconds one process waits for another, which may be held up by other work
EARLY = 0.15  # of the budget: the early checkpoint that is kept
CLIP_NORM = 1.0
AVERAGE = 0.998  # of the average weights, kept at a step: it spans the last 500 or so

# A stage: (folder, device) -> the modules to train, what turns a random generator, a batch size and
# the fraction of the budget that is spent into a loss, and what draws a preview with the averaged
# weights.
Loss = Callable[[np.random.Generator, int, float], torch.Tensor]
Preview = Callable[[], Image.Image]
Made = tuple[nn.ModuleDict, Loss, Preview | None]
Stage = Callable[[Path, torch.device], Made]


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: Muon's for matrices and kernels (None: AdamW trains them too), AdamW's.

    >>> Rates(muon=0.01).adam
    0.002
    """

    muon: float | None
    adam: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)

    def times(self, factor: float) -> Rates:
        """Both rates times `factor`."""
        return Rates(self.muon and self.muon * factor, self.adam * factor, self.betas)


def learning_rate(peak: float, fraction: float) -> float:
    """Warm-up over the first 3% of the budget, then a cosine down to 2% of the peak.

    >>> round(learning_rate(1.0, 0.03), 3), round(learning_rate(1.0, 1.0), 3)
    (1.0, 0.02)
    """
    if fraction < 0.03:
        return peak * (fraction + 1e-3) / 0.031
    return peak * float(0.02 + 0.49 * (1 + np.cos(np.pi * (fraction - 0.03) / 0.97)))


class Team:
    """The processes of one training: they add up tensors on a board in shared memory."""

    def __init__(self, world: int, floats: int) -> None:
        self.world = world
        self.board = torch.zeros(world, floats).share_memory_()
        self.barrier = mp.get_context("spawn").Barrier(world)

    def add_up(self, tensors: list[torch.Tensor], rank: int) -> None:
        """Sum `tensors` over the processes, in place."""
        sizes = [t.numel() for t in tensors]
        torch.cat([t.flatten() for t in tensors], out=self.board[rank, : sum(sizes)])
        self.barrier.wait(PATIENCE)
        total = self.board[:, : sum(sizes)].sum(0)
        self.barrier.wait(PATIENCE)  # nobody writes again before all have read
        for tensor, part in zip(tensors, total.split(sizes), strict=True):
            tensor.copy_(part.view_as(tensor))


def halves(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: some CPUs emulate it, and so do old GPUs."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _worker(rank: int, team: Team | None, stage: Stage, name: str, folder: Path, samples: int,
            batch: int, rates: Rates, device: torch.device, seed: int) -> None:  # fmt: skip
    world = team.world if team else 1
    if team:
        torch.set_num_threads(1)
    torch.manual_seed(seed)
    modules, loss_of, preview = stage(folder, device)
    parameters = [p for p in modules.parameters() if p.requires_grad]
    matrices, others = muon.split(modules) if rates.muon else ([], parameters)
    momenta = [torch.zeros_like(p) for p in matrices]
    optimizer = torch.optim.AdamW(others, betas=rates.betas, weight_decay=1e-2, fused=True)
    average = [p.detach().clone() for p in parameters]
    step, seen, path = 0, 0, folder / f"{name}.checkpoint.pt"
    early = folder / f"{name}-early.checkpoint.pt"
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        modules.load_state_dict(saved["modules"])
        optimizer.load_state_dict(saved["optimizer"])
        if momenta:
            torch._foreach_copy_(momenta, saved["momenta"])
        torch._foreach_copy_(average, saved["average"])
        step, seen = saved["step"], saved["seen"]

    def save() -> None:
        state = {
            "modules": modules.state_dict(), "optimizer": optimizer.state_dict(),
            "momenta": momenta, "average": average, "step": step, "seen": seen,
        }  # fmt: skip
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def show() -> None:
        now = [p.detach().clone() for p in parameters]
        torch._foreach_copy_([p.data for p in parameters], average)
        with torch.no_grad():
            preview().save(folder / f"{name}.preview.png")
        torch._foreach_copy_([p.data for p in parameters], now)

    bar = tqdm(desc=name, total=samples, initial=seen, unit=" samples", unit_scale=True,
               disable=rank > 0, mininterval=5)  # fmt: skip
    last_saved = last_shown = time.monotonic()
    running, parent = None, os.getppid()
    while seen < samples and (team is None or os.getppid() == parent):  # end with a killed parent
        fraction = seen / samples
        rate = learning_rate(1.0, fraction)
        optimizer.param_groups[0]["lr"] = rates.adam * rate
        with torch.autocast(device.type, torch.bfloat16, enabled=halves(device)):
            loss = loss_of(np.random.default_rng([seed, rank, step]), batch, fraction)
        optimizer.zero_grad()
        loss.backward()
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if team:
            team.add_up([p.grad for p in parameters], rank)
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        if matrices:
            updates = muon.directions(matrices, momenta, slice(rank, None, world))
            if team:
                team.add_up(updates, rank)
            step_size = rates.muon * rate
            torch._foreach_mul_([p.data for p in matrices], 1 - step_size * muon.DECAY)
            torch._foreach_add_([p.data for p in matrices], updates, alpha=-step_size)
        step, seen = step + 1, seen + batch * world
        decay = min(AVERAGE, step / (step + 9))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        if rank == 0:
            running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
            bar.set_postfix(step=step, loss=f"{running:.4f}", refresh=False)
            bar.update(batch * world)
            now, passed_early = time.monotonic(), seen > EARLY * samples and not early.exists()
            if now - last_saved > SAVE_EVERY or passed_early:
                save()
                last_saved = now
            if passed_early:
                shutil.copy(path, early)
            if preview and now - last_shown > PREVIEW_EVERY:
                show()
                last_shown = now
    if rank == 0:
        bar.close()
        save()


def fit(stage: Stage, *, name: str, folder: Path, samples: int, batch: int, rates: Rates,
        device: torch.device, processes: int | None = None,
        seed: int = 0) -> nn.ModuleDict:  # fmt: skip
    """Train what `stage` builds on `samples` in all and return it with the averaged weights.

    `batch` samples a step and process; as many processes as cores unless `processes` says
    otherwise. Progress is kept in `folder`/`name`.checkpoint.pt: the same call goes on where a
    killed one stopped, at most a minute back, and returns at once when the budget is spent.
    """
    world = (processes or os.cpu_count()) if device.type == "cpu" else 1
    job = (stage, name, folder, samples, batch, rates, device, seed)
    if _seen(folder / f"{name}.checkpoint.pt") >= samples:
        return load(stage, name=name, folder=folder, device=device)
    if world > 1:
        floats = sum(p.numel() for p in stage(folder, device)[0].parameters())
        mp.spawn(_worker, (Team(world, floats), *job), nprocs=world)
    else:
        _worker(0, None, *job)
    return load(stage, name=name, folder=folder, device=device)


def _seen(path: Path) -> int:
    """The samples that a checkpoint has seen; -1 if there is none, not even of an empty budget."""
    if not path.exists():
        return -1
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["seen"]


def load(stage: Stage, *, name: str, folder: Path, device: torch.device) -> nn.ModuleDict:
    """What `fit` has made so far, with the averaged weights, ready to use."""
    modules, _, _ = stage(folder, device)
    path = folder / f"{name}.checkpoint.pt"
    saved = torch.load(path, map_location=device, weights_only=True)
    modules.load_state_dict(saved["modules"])
    trained = [p for p in modules.parameters() if p.requires_grad]
    for parameter, mean in zip(trained, saved["average"], strict=True):
        parameter.data.copy_(mean)
    return modules.eval().requires_grad_(False)
