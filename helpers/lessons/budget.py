"""Simulate what a GPU's memory does to a call, without one: a limit, and offloading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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

    Source: PyTorch, `torch.cuda.set_per_process_memory_fraction`.
    """
    device = pipeline._execution_device
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        torch.cuda.empty_cache()
        weights = tensors_of(*modules_of(pipeline).values())
        inside = bytes_of([tensor for tensor in weights if tensor.device.type == "cuda"])
        size += torch.cuda.memory_reserved(device) - inside  # what others hold does not count
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    with _Budget(size, tensors_of(*modules_of(pipeline).values())):
        yield


def simulate_offloading(
    fn: Callable[[], Any], pipeline: DiffusionPipeline, modules: Sequence[torch.nn.Module]
) -> tuple[int, int]:
    """Make a call and count the memory as if one of these modules were on a GPU at a time.

    Each module's weights arrive just before it is called, and those of the one before it leave.
    Weights of the pipeline that are in none of the modules are not counted.

    Returns:
        The most bytes at once, live tensors included, and the bytes of weights that were moved.

    Source: Diffusers, `enable_model_cpu_offload`, `enable_sequential_cpu_offload`.
    """
    counter = LiveStorages(ignored=tensors_of(*modules_of(pipeline).values()))
    present: torch.nn.Module | None = None
    moved = [0]

    def arrive(module: torch.nn.Module, inputs: object) -> None:
        nonlocal present
        if module is not present:
            size = bytes_of(module.parameters())
            counter.add(size - moved[-1])
            moved.append(size)
            present = module

    hooks = [module.register_forward_pre_hook(arrive) for module in modules]
    try:
        with counter:
            fn()
    finally:
        for hook in hooks:
            hook.remove()
    return counter.peak, sum(moved)
