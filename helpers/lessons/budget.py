"""Give a process less memory than the machine has, to meet the end of it without harm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from helpers.memory import bytes_of, modules_of, readable, tensors_of
from helpers.storages import LiveStorages

if TYPE_CHECKING:
    from helpers.pipelines import Pipeline


class _Budget(LiveStorages):
    def __init__(self, size: float, weights: list[torch.Tensor]) -> None:
        super().__init__(ignored=weights)
        self.size = size
        self.hold(bytes_of(weights))

    def _add(self, size: int) -> None:
        super()._add(size)
        if self.live > self.size:
            self.size = float("inf")  # once is enough: what is cleaned up may need some too
            raise torch.OutOfMemoryError(
                f"out of memory: {readable(self.live)} would be needed at once."
            )


@contextmanager
def memory_budget(size: float, pipeline: Pipeline) -> Iterator[None]:
    """Raise `torch.OutOfMemoryError` where a call needs more than `size` bytes.

    On CUDA the limit is PyTorch's own. Elsewhere the living tensors are counted, as `peak_memory`
    does, because a system that runs out of memory would end the whole kernel.

    Args:
        size: bytes, weights included.
        pipeline: the one that is called inside.

    Source: PyTorch, `torch.cuda.set_per_process_memory_fraction`.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> with memory_budget(30e6, pipeline):
        ...     pipeline("a knight", num_inference_steps=1)
        Traceback (most recent call last):
        torch.OutOfMemoryError: out of memory: ... would be needed at once.
    """
    device = pipeline._execution_device
    if device.type == "cuda":
        _, whole = torch.cuda.mem_get_info(device)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / whole), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    with _Budget(size, tensors_of(*modules_of(pipeline).values())):
        yield
