"""Give a call less memory than the machine has, to run out of it without harm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from helpers.memory import LiveStorages, bytes_of, format_bytes, modules_of, tensors_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class _Budget(LiveStorages):
    def __init__(self, size: float, weights: list[torch.Tensor]) -> None:
        super().__init__(ignored=weights, start=bytes_of(weights))
        self.size = size

    def add(self, size: int) -> None:
        super().add(size)
        if self.live > self.size:
            self.size = float("inf")  # raise once: cleaning up may need some memory too
            raise torch.OutOfMemoryError(
                f"out of memory: {format_bytes(self.live)} would be needed at once."
            )


@contextmanager
def memory_budget(size: float, pipeline: DiffusionPipeline) -> Iterator[None]:
    """Raise `torch.OutOfMemoryError` where a call needs more than `size` bytes.

    On CUDA the limit is PyTorch's own. Elsewhere the live tensors are counted, as `peak_memory`
    does, because an operating system that runs out of memory would kill the kernel.

    Args:
        size: bytes, weights included.
        pipeline: the one that is called inside.

    Source: PyTorch, `torch.cuda.set_per_process_memory_fraction`.
    """
    device = pipeline._execution_device
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    with _Budget(size, tensors_of(*modules_of(pipeline).values())):
        yield
