"""Count the bytes of the tensors that are alive while something runs."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveStorages(TorchDispatchMode):
    """Count the bytes of the tensor storages that are alive while the mode is on.

    A storage counts once, however many views it has and however often it is written to, from the
    operation that makes it until it is freed. One that is only read was there before: it counts
    from the start. What an operation takes for itself and gives back is not seen.

    Args:
        ignored: tensors that do not count, such as the weights.
        allocator: a book-keeper that is told of every storage, in the order of events, and asked
            for what each convolution takes for itself on a GPU of NVIDIA: as much as its input, its
            weights and its output, to turn them to the layout that tensor cores read.

    Example:
        >>> with LiveStorages() as storages:
        ...     a = torch.zeros(1000)
        ...     del a
        ...     b = torch.zeros(500).view(5, 100).add_(1)
        >>> storages.live, storages.peak
        (2000, 4000)
    """

    def __init__(
        self,
        ignored: Iterable[torch.Tensor] = (),
        allocator: Any | None = None,
    ) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.weights = self.weights_at_peak = 0  # the part of these that `hold` was told of
        self._seen: dict[int, weakref.ref] = {}
        self._allocator = allocator
        self._held: defaultdict[int, list[Any | None]] = defaultdict(list)
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
        if func is torch.ops.aten.convolution.default:
            self._give_back(self._take(args[0].nbytes + args[1].nbytes + result.nbytes))
        return result

    def hold(self, size: int) -> None:
        """Count bytes of weights that the mode does not see, or stop counting them (size < 0)."""
        self.weights += size
        self._add(size)
        if size > 0:
            self._held[size].append(self._take(size))
        elif size < 0:
            self._give_back(self._held[-size].pop())

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
        block = self._take(size)
        self._seen[key] = weakref.ref(storage, lambda _: self._freed(key, size, block))

    def _freed(self, key: int, size: int, block: Any | None) -> None:
        del self._seen[key]
        self.live -= size
        self._give_back(block)

    def _take(self, size: int) -> Any | None:
        return self._allocator.take(size) if self._allocator is not None and size else None

    def _give_back(self, block: Any | None) -> None:
        if self._allocator is not None and block is not None:
            self._allocator.give_back(block)

    def _add(self, size: int) -> None:
        self.live += size
        if self.live > self.peak:
            self.restart()
