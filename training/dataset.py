"""The drawings on disk: an array of images and the specifications that made them.

Drawing number i is made from `spec_of(i)`, so a dataset is its size and nothing else: it can be
stopped, resumed and made again.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from training import portraits
from training.portraits import SIZE, Spec, draw, random_spec
from training.workspace import Workspace, digest, save_array

SEED = 2024
CHUNK = 64  # drawings between two records of progress
FIRST_UNSEEN_SPEC = 10_000_000  # no dataset reaches this number


def spec_of(number: int) -> Spec:
    """The specification of drawing `number`; its own seed makes the rest of the image.

    >>> spec_of(3) == spec_of(3), spec_of(3) == spec_of(4)
    (True, False)
    """
    return random_spec(np.random.default_rng([SEED, number]), seed=number)


def drawings_digest(count: int) -> str:
    """What the first `count` drawings depend on, as a digest."""
    return digest(Path(portraits.__file__), SEED, count)


def drawings_path(folder: Path, count: int) -> Path:
    """The file of the first `count` drawings as this code makes them."""
    return folder / f"drawings-{count}-{drawings_digest(count)}.npy"


def _draw(numbers: range) -> tuple[range, np.ndarray]:
    return numbers, np.stack([np.asarray(draw(spec_of(i))) for i in numbers])


def make_drawings(work: Workspace) -> np.ndarray:
    """The drawings of a workspace, a read-only uint8 array of (count, 128, 128, 3), made by every
    core; a kill loses at most the chunks in hand."""
    count, path = work.drawings, drawings_path(work.folder, work.drawings)
    starts, done_path = range(0, count, CHUNK), path.with_suffix(".done.npy")
    work.folder.mkdir(parents=True, exist_ok=True)
    if not done_path.exists():
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIZE, SIZE, 3)).flush()
        save_array(done_path, np.zeros(len(starts), bool))
    array, done = np.load(path, mmap_mode="r+"), np.load(done_path)
    chunks = [range(start, min(start + CHUNK, count)) for start in starts]
    missing = [chunks[i] for i in np.flatnonzero(~done)]
    if missing:
        with multiprocessing.get_context("spawn").Pool() as pool:
            drawn = pool.imap_unordered(_draw, missing)
            for numbers, part in tqdm(drawn, "drawing", len(missing), unit_scale=CHUNK):
                array[numbers] = part
                done[numbers.start // CHUNK] = True
                array.flush()
                save_array(done_path, done)
    return read_drawings(work)


def read_drawings(work: Workspace) -> np.ndarray:
    """The drawings that `make_drawings` has made, exactly as many as the workspace names."""
    return np.load(drawings_path(work.folder, work.drawings), mmap_mode="r")
