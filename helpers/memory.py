"""Memory: what a call takes at most, the largest batch that fits, and getting it back."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from helpers.loading import pick_device
from helpers.storages import LiveStorages

if TYPE_CHECKING:
    from helpers.pipelines import Pipeline

# The CPU's allocator in two wordings, CUDA and MPS, cuBLAS, the C++ library, oneDNN.
OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|ALLOC_FAILED|bad_alloc"
    "|could not create a (memory object|primitive)$"
)


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a call held at once, weights included.

    Example:
        >>> print(PeakMemory(34_500_000, "counting live tensors"))
        34.5 MB at most, by counting live tensors
    """

    bytes: int
    how: str  # the way it was measured
    result: Any = field(default=None, repr=False, compare=False)  # what the call returned

    def __str__(self) -> str:
        return f"{readable(self.bytes)} at most, by {self.how}"


def peak_memory(fn: Callable[[], Any], pipeline: Pipeline | None = None) -> PeakMemory:
    """Make a call and return the most memory that it held at once.

    On CUDA this is what the allocator reports, with all that lives on the GPU. On MPS, which keeps
    no record of the peak, it is what Metal's driver holds after the call, freed blocks that are
    kept for reuse included. On a CPU the storages of living tensors are counted: the figure is the
    same to the byte from run to run, but leaves out what a kernel takes and gives back.

    Args:
        fn: called without arguments, such as `lambda: pipeline(**get_inputs(4))`.
        pipeline: the one that is called. Its device is asked; on a CPU, all of its weights count,
            without it only those that the call touches.

    Returns:
        The bytes, how they were measured, and what the call returned.

    Source: PyTorch, `torch.cuda.max_memory_allocated`, `TorchDispatchMode`.

    Example:
        >>> peak = peak_memory(lambda: torch.ones(1000).mul(2).sum().item())
        >>> peak.result
        2000.0
    """
    device = pick_device() if pipeline is None else pipeline._execution_device
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        result = fn()
        torch.cuda.synchronize(device)
        return PeakMemory(torch.cuda.max_memory_allocated(device), "CUDA's allocator", result)
    if device.type == "mps":
        result = fn()
        torch.mps.synchronize()
        return PeakMemory(torch.mps.driver_allocated_memory(), "Metal's driver", result)
    weights = [] if pipeline is None else tensors_of(*modules_of(pipeline).values())
    with LiveStorages(ignored=weights) as storages:
        storages.hold(bytes_of(weights))
        result = fn()
    return PeakMemory(storages.peak, "counting live tensors", result)


def largest_batch(
    pipeline: Pipeline,
    inputs: Callable[[int], Mapping[str, Any]],
    *,
    limit: int | None = None,
) -> int:
    """Find the largest batch that fits into memory: double until it fails, then bisect.

    Running out of memory leaves nothing behind: what the failed call held is freed.

    Args:
        pipeline: called with each batch, and left as it was.
        inputs: makes the arguments for a batch size, as `get_inputs` does. Few steps are enough:
            their number changes nothing about memory.
        limit: no larger batch is tried. A CPU needs one, because there the system rather ends the
            whole process than refuse it memory.

    Raises:
        ValueError: the limit is below 1, or missing on a CPU.
        MemoryError: not even one image fits.

    Example:
        >>> from helpers import get_inputs, load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> largest_batch(pipeline, lambda n: get_inputs(n, num_inference_steps=1), limit=2)
        2
    """
    if limit is None and pipeline._execution_device.type == "cpu":
        raise ValueError(
            "On a CPU, running out of memory can end the whole process: give a limit, such as 64."
        )
    if limit is not None and limit < 1:
        raise ValueError(f"A limit of {limit} leaves nothing to try: use a limit of at least 1.")
    largest = _double_then_bisect(partial(_fits, pipeline, inputs), limit)
    if largest == 0:
        raise MemoryError(
            "Not even one image fits: use a smaller height and width, half precision, "
            "pipeline.vae.enable_tiling() or pipeline.enable_model_cpu_offload()."
        )
    return largest


def free_memory() -> None:
    """Give back memory that nothing needs any more, above all after running out of it.

    An error keeps the frames it went through, frames keep their tensors, and Jupyter keeps the last
    error: without this, one cell that runs out of memory makes all later ones fail too.

    Source: PyTorch issue 27600, diffusers issue 5270; accelerate, `clear_device_cache`.

    Example:
        >>> free_memory()
    """
    for name in ("last_exc", "last_value"):
        error = getattr(sys, name, None)
        if isinstance(error, BaseException) and is_out_of_memory(error):
            _clear_frames(error)
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, whatever the device.

    Example:
        >>> is_out_of_memory(RuntimeError("MPS backend out of memory"))
        True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


def readable(size: float) -> str:
    """Write a number of bytes as people read it.

    Example:
        >>> readable(34_500_000), readable(1_230_000_000)
        ('34.5 MB', '1.23 GB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _fits(pipeline: Pipeline, inputs: Callable[[int], Mapping[str, Any]], batch_size: int) -> bool:
    """Try a batch; if memory runs out, put all back as it was."""
    free_memory()
    fits = True
    try:
        pipeline(**inputs(batch_size))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        fits = False
        _clear_frames(error)
    if not fits:
        pipeline.maybe_free_model_hooks()  # an offloaded model may have stayed on the GPU
    free_memory()
    return fits


def _clear_frames(error: BaseException | None) -> None:
    """Drop the local variables of all functions that an error and its causes went through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            _ = frame.f_locals  # brings up to date the copy that is made when a traceback is shown
        error = error.__cause__ or error.__context__


def _double_then_bisect(fits: Callable[[int], bool], limit: int | None) -> int:
    """Return the largest size that fits, none above the limit, 0 if not even 1 does."""
    good, size = 0, 1
    while fits(size):
        good = size
        if size == limit:
            return size
        size = 2 * size if limit is None else min(2 * size, limit)
    bad = size
    while bad - good > 1:
        size = (good + bad) // 2
        good, bad = (size, bad) if fits(size) else (good, size)
    return good


def modules_of(pipeline: Pipeline) -> dict[str, torch.nn.Module]:
    """The pipeline's networks, by name.

    Example:
        >>> from helpers import load_pipeline
        >>> list(modules_of(load_pipeline("tiny-portraits", device="cpu")))
        ['vae', 'text_encoder', 'unet']
    """
    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}


def tensors_of(*modules: torch.nn.Module) -> list[torch.Tensor]:
    """The parameters and buffers of networks."""
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """The bytes of tensors, together.

    Example:
        >>> bytes_of([torch.zeros(3), torch.zeros(2, dtype=torch.float16)])
        16
    """
    return sum(tensor.nbytes for tensor in tensors)
