"""Several processes that train one model: they add up tensors with `torch.distributed`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

PATIENCE = timedelta(hours=1)  # that one process waits for another, which other work may hold up


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def add_up(tensors: list[torch.Tensor]) -> None:
    """Sum `tensors` over the processes, in place."""
    if world_size() == 1:
        return
    total = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(total)
    parts = total.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _join(number: int, world: int, store: str, work: Callable[..., None], arguments: tuple) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    dist.init_process_group("gloo", store, PATIENCE, world, number)
    work(*arguments)
    dist.destroy_process_group()


def spawn(world: int, work: Callable[..., None], *arguments: object) -> None:
    """Call `work(*arguments)` in `world` processes at once; in this one if that is all."""
    if world == 1:
        work(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store").as_uri()
        mp.spawn(_join, (world, store, work, arguments), nprocs=world)
