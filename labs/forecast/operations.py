"""The operations of a run, by component: what each computes, and what it reads and writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from helpers.memory import modules_of, tensors_of
from labs.forecast.dry_run import (
    COMPONENTS,
    FusedAttention,
    build_without_weights,
    cached_by_model,
    component_calls,
    image_size,
)

KINDS = ("convolution", "matrix product", "attention", "other")
MATRIX_PRODUCTS = {"addmm", "mm", "bmm", "baddbmm"}
FREE = {"empty", "empty_like", "empty_strided", "detach"}  # these neither read nor write


@dataclass(frozen=True)
class Operations:
    """The operations of a component for one sample, as arrays; equal ones are counted together.

    Tensors are counted in elements, so the dtype is left open.
    """

    times: np.ndarray  # how often each occurs
    kind: np.ndarray  # index into `KINDS`
    flops: np.ndarray  # a multiplication and an addition are two
    moved: np.ndarray  # elements read and written, without weights
    weights: np.ndarray  # elements of weights, which are read once for all samples
    results: np.ndarray  # elements written

    def total(self, name: str) -> float:
        """Return the sum over all operations, such as of "flops"; of "times", their number."""
        values = 1 if name == "times" else getattr(self, name)
        return float((self.times * values).sum())


@cached_by_model
def operations_of(
    model: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    attention: str = "sdpa",
) -> dict[str, Operations]:
    """List what a model computes to generate one image, without weights and without a GPU.

    The arguments are those of `forecast_memory`.

    Returns:
        The operations by component: of a text encoder for one prompt, of a UNet step for one of the
        two samples of an image (guidance), of the VAE for one image.

    Source: PyTorch, `torch.utils.flop_counter`.
    """
    # In float16, the VAE of Stable Diffusion XL would be converted, and its weights not be known.
    pipeline = build_without_weights(model, "bfloat16", attention)
    height, width = image_size(pipeline, height, width)
    modules = modules_of(pipeline)
    found = {}
    for component, call in component_calls(pipeline, 1, height, width).items():
        samples = 2 if component == "UNet step" else 1
        recorder = OperationRecorder(tensors_of(modules[COMPONENTS[component]]), samples)
        with torch.no_grad(), FusedAttention(recorder.record_attention), recorder:
            call()
        found[component] = recorder.operations()
    return found


class OperationRecorder(TorchDispatchMode):
    """Record every operation that reads or writes memory, for one of the samples of a batch."""

    def __init__(self, weights: list[torch.Tensor], samples: int) -> None:
        super().__init__()
        self._weights = {tensor.untyped_storage()._cdata for tensor in weights}
        self._samples = samples
        self._seen: Counter[tuple[int, ...]] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        read, written = _tensors((args, kwargs)), _tensors(result)
        if name not in FREE and not _is_view(func, read, written):
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=result) if count else 0
            kind = 0 if name == "convolution" else 1 if name in MATRIX_PRODUCTS else 3
            self._record(kind, flops, read, sum(tensor.numel() for tensor in written))
        return result

    def record_attention(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """Record a fused attention; its value has the size of its key, its result of its query."""
        flops = 4 * prod(query.shape) * key.shape[-2]
        self._record(2, flops, [query, key, key], query.numel())

    def _record(self, kind: int, flops: int, read: list[torch.Tensor], written: int) -> None:
        weights = sum(t.numel() for t in read if t.untyped_storage()._cdata in self._weights)
        moved = sum(tensor.numel() for tensor in read) - weights + written
        n = self._samples
        self._seen[kind, flops // n, moved // n, weights, written // n] += 1

    def operations(self) -> Operations:
        """Return all that was recorded."""
        kind, *columns = np.array([*self._seen], dtype=float).T
        times = np.array([*self._seen.values()], dtype=float)
        return Operations(times, kind.astype(int), *columns)


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_iter(tree) if isinstance(leaf, torch.Tensor)]


def _is_view(func: Any, read: list[torch.Tensor], written: list[torch.Tensor]) -> bool:
    """Whether an operation returns only views of its input."""
    if func._schema.is_mutable:
        return False
    storages = {tensor.untyped_storage()._cdata for tensor in read}
    return all(tensor.untyped_storage()._cdata in storages for tensor in written)
