"""Work out once what an operation makes of tensors without contents, and remember it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class RememberedShapes(TorchDispatchMode):
    """Answer from memory what was asked before, on the meta device: the shape of a new tensor.

    PyTorch works that out in Python, and the blocks of a network ask the same again and again: to
    remember it halves the time of a step. Views and writing in place are always done.
    Enter it before the modes that look on: what they see is the same.

    Example:
        >>> with RememberedShapes() as mode:
        ...     ones = torch.empty(2, 3, device="meta")
        ...     sums = [ones + ones for _ in range(3)]
        >>> sums[2].shape, sums[2].untyped_storage() is sums[1].untyped_storage()
        (torch.Size([2, 3]), False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[Any, list[tuple[Any, ...]]] = {}  # sizes, strides and dtypes

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        leaves, layout = tree_flatten((args, kwargs))
        read = [one for one in leaves if isinstance(one, torch.Tensor)]
        if _shares_memory(func) or not all(one.is_meta for one in read):
            return func(*args, **kwargs)
        key = (func, layout, *map(_described, leaves))
        if key not in self._results:
            result = func(*args, **kwargs)
            written = result if isinstance(result, tuple) else (result,)
            if all(_is_new(one, read) for one in written):
                self._results[key] = [(one.shape, one.stride(), one.dtype) for one in written]
            return result
        new = [
            torch.empty_strided(size, stride, dtype=dtype, device="meta")
            for size, stride, dtype in self._results[key]
        ]
        return new[0] if len(new) == 1 else tuple(new)


@cache
def _shares_memory(func: Any) -> bool:
    """Whether an operation says that it writes in place, or looks at its input in another way."""
    return any(one.alias_info for one in [*func._schema.arguments, *func._schema.returns])


def _described(leaf: object) -> tuple[object, ...]:
    """All of an argument that the shape of a result can hang on."""
    if isinstance(leaf, torch.Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype
    return type(leaf), leaf  # 1, 1.0 and True are equal


def _is_new(result: object, read: list[torch.Tensor]) -> bool:
    """Whether it's a tensor that fills a memory of its own."""
    if not isinstance(result, torch.Tensor) or not result.is_meta:
        return False
    storage = result.untyped_storage()
    shared = storage._cdata in {one.untyped_storage()._cdata for one in read}
    return not shared and storage.nbytes() == result.nbytes
