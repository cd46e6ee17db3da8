"""The drawings on disk: an array of pictures and the specifications that made them.

Picture number i is drawn from `spec_of(i)`, so a dataset is its size and nothing else: it can be
stopped, resumed and redrawn. The first `held_out` pictures are never trained on.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from training.portraits import SIZE, Spec, draw, random_spec

SEED = 2024
CHUNK = 64  # pictures between two records of progress
HELD_OUT = 2_000  # numbers 0 to 1999: the judge's and the autoencoder's examination


def spec_of(number: int) -> Spec:
    """The specification of picture `number`; its own seed makes the rest of the picture.

    >>> spec_of(3) == spec_of(3), spec_of(3) == spec_of(4)
    (True, False)
    """
    return random_spec(np.random.default_rng([SEED, number]), seed=number)


def _draw(numbers: range) -> tuple[range, np.ndarray]:
    return numbers, np.stack([np.asarray(draw(spec_of(i))) for i in numbers])


def pictures(folder: Path, count: int) -> np.ndarray:
    """The first `count` drawings, a read-only uint8 array of (count, 128, 128, 3).

    Drawn by every core into `folder`/pictures.npy; a kill loses at most the chunks in hand.
    `count` is rounded up to whole chunks.
    """
    count = -(-count // CHUNK) * CHUNK
    folder.mkdir(parents=True, exist_ok=True)
    path, done_path = folder / f"pictures-{count}.npy", folder / f"pictures-{count}.done.npy"
    if not done_path.exists():
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIZE, SIZE, 3)).flush()
        np.save(done_path, np.zeros(count // CHUNK, bool))
    array = np.load(path, mmap_mode="r+")
    done = np.load(done_path)
    missing = [range(i * CHUNK, (i + 1) * CHUNK) for i in np.flatnonzero(~done).tolist()]
    if missing:
        with multiprocessing.get_context("spawn").Pool() as pool:
            chunks = pool.imap_unordered(_draw, missing)
            for numbers, drawn in tqdm(chunks, "drawing", len(missing), unit_scale=CHUNK):
                array[numbers] = drawn
                done[numbers.start // CHUNK] = True
                array.flush()
                np.save(done_path, done)
    return np.load(path, mmap_mode="r")
