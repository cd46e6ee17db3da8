"""What PyTorch's allocator takes from a GPU for the tensors it is asked for, and keeps."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from itertools import count

MIB = 2**20


@dataclass(eq=False)
class Block:
    """A piece of a segment, in use or free, with its neighbours."""

    size: int
    number: int  # in the order of arrival
    small: bool  # small and large blocks never mix
    free: bool = False
    before: Block | None = None
    after: Block | None = None


class CachingAllocator:
    """Do the book-keeping of PyTorch's CUDA allocator, without a GPU.

    It takes memory from the GPU in segments, cuts blocks off them, joins free neighbours, and gives
    nothing back as long as there is room. Segments that were cut for one size do not always fit the
    next: what is reserved can be twice what the tensors take.

    Source: PyTorch, c10/cuda/CUDACachingAllocator.cpp, with its default settings.

    Example:
        >>> allocator = CachingAllocator()
        >>> first = allocator.take(30 * MIB)
        >>> allocator.give_back(first)
        >>> _ = allocator.take(31 * MIB)  # no segment fits: a second one
        >>> allocator.allocated // MIB, allocator.reserved // MIB
        (32, 62)
    """

    def __init__(self) -> None:
        self.allocated = self.most_allocated = self.reserved = 0
        self._numbers = count()
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}

    def take(self, size: int) -> Block:
        """Return a block for so many bytes: the smallest free one that is enough, or a new one."""
        size = -(-max(size, 1) // 512) * 512
        small = size <= MIB
        free = self._free[small]
        place = bisect.bisect_left(free, (size, 0))
        block = free.pop(place)[2] if place < len(free) else self._new_segment(size, small)
        block.free = False
        if block.size - size >= (512 if small else MIB + 1):
            self._cut(block, size)
        self.allocated += block.size
        self.most_allocated = max(self.most_allocated, self.allocated)
        return block

    def give_back(self, block: Block) -> None:
        """Free a block and join it to its neighbours, where they are free too."""
        self.allocated -= block.size
        if block.before is not None and block.before.free:
            self._forget(block.before)
            block.size += block.before.size
            block.before = block.before.before
        if block.after is not None and block.after.free:
            self._forget(block.after)
            block.size += block.after.size
            block.after = block.after.after
        if block.before is not None:
            block.before.after = block
        if block.after is not None:
            block.after.before = block
        self._keep(block)

    def _new_segment(self, size: int, small: bool) -> Block:
        large = 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
        block = Block(2 * MIB if small else large, next(self._numbers), small)
        self.reserved += block.size
        return block

    def _cut(self, block: Block, size: int) -> None:
        rest = Block(
            block.size - size, next(self._numbers), block.small, before=block, after=block.after
        )
        if rest.after is not None:
            rest.after.before = rest
        block.size, block.after = size, rest
        self._keep(rest)

    def _keep(self, block: Block) -> None:
        block.free = True
        bisect.insort(self._free[block.small], (block.size, block.number, block))

    def _forget(self, block: Block) -> None:
        free = self._free[block.small]
        free.pop(bisect.bisect_left(free, (block.size, block.number)))
