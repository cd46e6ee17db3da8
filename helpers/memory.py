"""Measure a call's peak memory, and free memory again."""

from __future__ import annotations

import re
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# How the CPU's allocator, CUDA, MPS, cuBLAS, the C++ library and oneDNN say it.
OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|Invalid buffer size|ALLOC_FAILED"
    "|bad_alloc|could not create a (memory object|primitive)$"
)


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a call used at once, weights included."""

    bytes: int
    how: str  # the way it was measured

    def __str__(self) -> str:
        return f"{format_bytes(self.bytes)} peak memory, measured by {self.how}"


def peak_memory(fn: Callable[[], Any], pipeline: DiffusionPipeline) -> PeakMemory:
    """Make a call and return the most memory that it used at once.

    On CUDA the allocator reports it; what others hold there does not count. Elsewhere the storages
    of live tensors are counted, without what a kernel allocates and frees itself.

    Args:
        fn: called without arguments, such as `lambda: pipeline(**get_inputs(4))`.
        pipeline: the pipeline that is called; its device decides, and all of its weights count.

    Source: PyTorch, `torch.cuda.max_memory_allocated`, `TorchDispatchMode`.
    """
    device = pipeline._execution_device
    free_memory()
    weights = tensors_of(*modules_of(pipeline).values())
    if device.type != "cuda":
        with LiveStorages(ignored=weights, start=bytes_of(weights)) as storages:
            fn()
        return PeakMemory(storages.peak, "live tensors")
    torch.cuda.reset_peak_memory_stats(device)
    inside = bytes_of([tensor for tensor in weights if tensor.device.type == "cuda"])
    others = torch.cuda.memory_allocated(device) - inside
    fn()
    torch.accelerator.synchronize(device)
    return PeakMemory(torch.cuda.max_memory_allocated(device) - others, "CUDA's allocator")


def free_memory() -> None:
    """Free memory that nothing needs any more, above all after running out of it.

    An exception keeps the frames it passed through, frames keep their tensors, and Jupyter keeps
    the last exception: without this, one cell that runs out of memory makes all later ones fail.

    Source: PyTorch issue 27600, diffusers issue 5270; accelerate, `clear_device_cache`.
    """
    for name in ("last_exc", "last_value"):
        error = getattr(sys, name, None)
        if isinstance(error, BaseException) and is_out_of_memory(error):
            _clear_frames(error)
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


def format_bytes(size: float) -> str:
    """Write a number of bytes in MB or GB (powers of 1000).

    Example:
        >>> format_bytes(34_500_000), format_bytes(1_230_000_000)
        ('34.5 MB', '1.23 GB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def modules_of(pipeline: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    """The pipeline's networks, by name."""
    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}


def tensors_of(*modules: torch.nn.Module) -> list[torch.Tensor]:
    """The parameters and buffers of networks."""
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """The number of bytes of all tensors together."""
    return sum(tensor.nbytes for tensor in tensors)


class LiveStorages(TorchDispatchMode):
    """Count the bytes of the tensor storages that are alive while the mode is on.

    A storage counts once, however many views it has, from the operation that creates it until it is
    freed; one that is only read, from the start. What an operation frees itself is not seen.

    Args:
        ignored: tensors that do not count, such as the weights.
        start: bytes to start from.

    Attributes:
        live, peak: bytes that are alive now, and the most that were.
    """

    def __init__(self, ignored: Iterable[torch.Tensor] = (), start: int = 0) -> None:
        super().__init__()
        self.live = self.peak = start
        self._seen: dict[int, weakref.ref] = {}
        for tensor in ignored:
            self._watch(tensor.untyped_storage(), 0)

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        before = sum(self._unseen((args, kwargs)))
        self.live += before
        self.peak += before  # it existed all the time
        result = func(*args, **(kwargs or {}))
        self.add(sum(self._unseen(result)))
        return result

    def add(self, size: int) -> None:
        """Count bytes that come (or go, if negative) without an operation, such as weights."""
        self.live += size
        self.peak = max(self.peak, self.live)

    def _unseen(self, tree: object) -> Iterator[int]:
        for tensor in tree_iter(tree):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._seen:
                    self._watch(storage, storage.nbytes())
                    yield storage.nbytes()

    def _watch(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata  # unlike data_ptr(), not 0 on the meta device
        self._seen[key] = weakref.ref(storage, lambda _: self._freed(key, size))

    def _freed(self, key: int, size: int) -> None:
        del self._seen[key]
        self.live -= size


def _clear_frames(error: BaseException | None) -> None:
    """Drop the local variables of all functions that an error and its causes passed through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # Reading f_locals updates the copy of the variables that a shown traceback keeps.
            _ = frame.f_locals
        error = error.__cause__ or error.__context__
