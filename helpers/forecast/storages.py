"""Count the bytes of the tensors that are alive while something runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveStorages(TorchDispatchMode):
    """Count the bytes of the tensor storages that are alive while the mode is on.

    A storage counts once, however many views it has and however often it is written to, from the
    operation that makes it until it is freed. One that is only read was there before: it counts
    from the start. What an operation takes for itself and gives back is not seen.

    Example:
        >>> with LiveStorages() as storages:
        ...     a = torch.zeros(1000)
        ...     del a
        ...     b = torch.zeros(500).view(5, 100).add_(1)
        >>> storages.live, storages.peak
        (2000, 4000)
    """

    def __init__(self, ignored: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.weights = self.weights_at_peak = 0  # the part of these that `hold` was told of
        self._seen: dict[int, weakref.ref] = {}
        for tensor in ignored:
            self._watch(tensor.untyped_storage(), 0)

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        before = sum(self._unseen((args, kwargs)))
        self.live += before
        self.peak += before  # it was there all the time
        result = func(*args, **(kwargs or {}))
        self._add(sum(self._unseen(result)))
        return result

    def hold(self, size: int) -> None:
        """Count bytes of weights that the mode does not see, or stop counting them (size < 0)."""
        self.weights += size
        self._add(size)

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak, self.weights_at_peak = self.live, self.weights

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

    def _add(self, size: int) -> None:
        self.live += size
        if self.live > self.peak:
            self.restart()


class FusedAttention(TorchFunctionMode):
    """Stand in for the fused attention kernel, which keeps nothing but its result.

    On the meta device PyTorch would take the unfused way, with all the scores in memory.

    Example:
        >>> query = torch.empty(1, 8, 4096, 40, device="meta")
        >>> with LiveStorages(ignored=[query]) as storages, FusedAttention():
        ...     out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
        >>> out.shape, storages.peak == query.nbytes
        (torch.Size([1, 8, 4096, 40]), True)
    """

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))
