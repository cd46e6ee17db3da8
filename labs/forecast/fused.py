"""Stand in for fused attention on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class FusedAttention(TorchFunctionMode):
    """Stand in for the fused attention kernel, which keeps nothing but its result.

    On the meta device PyTorch would take the unfused way, with all the scores in memory.

    Args:
        seen: called with the query and the key of each attention.

    Example:
        >>> from labs.forecast.storages import LiveStorages
        >>> query = torch.empty(1, 8, 4096, 40, device="meta")
        >>> with LiveStorages(ignored=[query]) as storages, FusedAttention():
        ...     out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
        >>> out.shape, storages.peak == query.nbytes
        (torch.Size([1, 8, 4096, 40]), True)
    """

    def __init__(self, seen: Callable[[torch.Tensor, torch.Tensor], Any] | None = None) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func is torch.nn.functional.scaled_dot_product_attention:
            if self._seen is not None:
                self._seen(*args[:2])
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))
