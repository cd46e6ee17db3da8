"""The operations of a run, by component: what each computes, and what it reads and writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from helpers.memory import modules_of, tensors_of
from labs.forecast.dry_run import (
    COMPONENTS,
    build_without_weights,
    one_step,
    set_attention,
    size_of,
)
from labs.forecast.fused import FusedAttention
from labs.forecast.remembering import RememberedShapes

KINDS = ("convolution", "matrix product", "attention", "other")
CONVOLUTIONS = {"convolution"}
PRODUCTS = {"addmm", "mm", "bmm", "baddbmm"}
FREE = {"empty", "empty_like", "empty_strided", "detach"}  # they neither read nor write


class Operation(NamedTuple):
    """One operation, for one sample: tensors in elements, whatever their dtype takes."""

    kind: int  # place in `KINDS`
    flops: int  # a multiplication and an addition are two
    moved: int  # read and written, without weights
    weights: int  # read however many samples there are
    results: int  # written: the work that can be shared out


@dataclass(frozen=True)
class Operations:
    """The operations of a component, alike ones counted together: an array each, same length.

    Example:
        >>> unet = operations_of("sd15-shape")["UNet step"]
        >>> f"{unet.total('flops') / 1e12:.2f} TFLOP a sample"
        '0.80 TFLOP a sample'
    """

    times: np.ndarray  # how often each comes
    kind: np.ndarray
    flops: np.ndarray
    moved: np.ndarray
    weights: np.ndarray
    results: np.ndarray

    def total(self, name: str) -> float:
        """The sum over all operations, such as that of "flops"."""
        return float((self.times * getattr(self, name)).sum())


def operations_of(
    model: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    attention: str = "sdpa",
) -> dict[str, Operations]:
    """List what a model does to draw one image, without weights, without a GPU.

    A text encoder is listed for one prompt, a UNet's step for one sample of the two that guidance
    makes, the decoder for one image.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        height, width: in pixels, the model's own if not given.
        attention: "sdpa", "classic" or "sliced", as for `forecast_memory`.

    Returns:
        The operations by component.

    Raises:
        ValueError: the model or an option is none of these.

    Source: PyTorch, `torch.utils.flop_counter`.

    Example:
        >>> list(operations_of("sdxl-shape"))
        ['text encoder', 'text encoder 2', 'UNet step', 'VAE decode']
    """
    return _operations_of(str(model), height, width, attention)


@lru_cache(maxsize=64)
def _operations_of(
    model: str, height: int | None, width: int | None, attention: str
) -> dict[str, Operations]:
    pipeline = build_without_weights(model, "float32")
    height, width = size_of(pipeline, height, width)
    set_attention(pipeline, attention)
    modules = modules_of(pipeline)
    found = {}
    steps, remembered = one_step(pipeline, 1, height, width), RememberedShapes()
    for component, name in COMPONENTS.items():
        if name in modules:
            samples = 2 if name == "unet" else 1
            recorder = OperationRecorder(tensors_of(modules[name]), samples)
            with torch.no_grad(), FusedAttention(recorder.note_attention), remembered, recorder:
                next(steps)
            found[component] = recorder.operations()
    return found


class OperationRecorder(TorchDispatchMode):
    """Note every operation that reads or writes memory."""

    def __init__(self, weights: list[torch.Tensor], samples: int) -> None:
        super().__init__()
        self._weights = {tensor.untyped_storage()._cdata for tensor in weights}
        self._samples = samples
        self._seen: Counter[Operation] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        read, written = _tensors((args, kwargs)), _tensors(result)
        if name not in FREE and not _is_view(func, read, written):
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=result) if count else 0
            kind = 0 if name in CONVOLUTIONS else 1 if name in PRODUCTS else 3
            self._note(kind, flops, read, sum(tensor.numel() for tensor in written))
        return result

    def note_attention(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """Note a fused attention: its key is as large as its value, its result as its query."""
        flops = 4 * prod(query.shape) * key.shape[-2]
        self._note(2, flops, [query, key, key], query.numel())

    def _note(self, kind: int, flops: int, read: list[torch.Tensor], written: int) -> None:
        fixed = [tensor.untyped_storage()._cdata in self._weights for tensor in read]
        sizes = [tensor.numel() for tensor in read]
        weights = sum(size for size, is_weight in zip(sizes, fixed, strict=True) if is_weight)
        moved = sum(sizes) - weights + written
        n = self._samples
        self._seen[Operation(kind, flops // n, moved // n, weights, written // n)] += 1

    def operations(self) -> Operations:
        """All that was noted so far."""
        columns = np.array([*self._seen], dtype=float).reshape(-1, len(Operation._fields)).T
        times = np.array([*self._seen.values()], dtype=float)
        kind, *rest = columns
        return Operations(times, kind.astype(int), *rest)


def _tensors(tree: object) -> list[torch.Tensor]:
    return [one for one in tree_iter(tree) if isinstance(one, torch.Tensor)]


def _is_view(func: Any, read: list[torch.Tensor], written: list[torch.Tensor]) -> bool:
    """Whether an operation only looks at its input in another way."""
    if func._schema.is_mutable:
        return False
    storages = {tensor.untyped_storage()._cdata for tensor in read}
    return all(tensor.untyped_storage()._cdata in storages for tensor in written)
