"""Where a training keeps its state, and caches whose names tell what made them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch  # is not needed by the processes that draw, and takes seconds to import

HELD_OUT = 2_000


@dataclass(frozen=True)
class Workspace:
    """The state folder of a training, the number of its drawings, and the device that it uses."""

    folder: Path
    drawings: int
    device: torch.device
    held_out: int = HELD_OUT  # the first drawings, which are never trained on

    @property
    def start(self) -> Path:
        """The weights that this training goes on from; the folder is missing if there are none."""
        return self.folder / "start"


def digest(*sources: object) -> str:
    """Twelve hex digits that change with the contents of any file (a `Path`) or any other value.

    >>> digest(1, "a") == digest(1, "a"), digest(1) == digest(2)
    (True, False)
    """
    found = hashlib.sha256()
    for source in sources:
        found.update(source.read_bytes() if isinstance(source, Path) else repr(source).encode())
    return found.hexdigest()[:12]


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array to a temporary file beside `path`, then rename it."""
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, array)
    os.replace(temporary, path)


def cached(path: Path, make: Callable[[], np.ndarray]) -> None:
    """Save what `make` returns as `path`, "NAME-DIGEST.npy", unless it is there.

    Arrays of the same name with another digest are stale by then and are deleted.
    """
    if path.exists():
        return
    save_array(path, make())
    for other in path.parent.glob(f"{path.name.rpartition('-')[0]}-*.npy"):
        if other != path:
            other.unlink()
