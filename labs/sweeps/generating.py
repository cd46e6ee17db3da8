"""Generate the images of one process, in batches that memory holds; save each one whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.grids import explain_black
from helpers.memory import free_memory, is_out_of_memory
from labs.images import Settings, save_image
from labs.images.generate import SHARED, generate
from labs.images.loras import switch_lora
from labs.sweeps.jobs import name_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# Pixels at once: 8 images of 128 x 128 on a CPU, 32 of 512 x 512 on a GPU. More gain nothing, and
# a killed process loses a whole batch.
PIXELS_ON_CPU, PIXELS_ON_GPU = 2**17, 2**23
OUT_OF_MEMORY = "out of memory"
ALIKE = 3  # so many images that fail in the same way show that the fault is not theirs

Failures = dict[str, str]  # why an image could not be generated, by the name of its file
Limits = dict[tuple[int | None, int | None], int]  # the most images at once, by height and width


def generate_share(
    pipeline: DiffusionPipeline,
    share: Sequence[Settings],
    folder: Path,
    limits: Limits,
    on_saved: Callable[[], object] = lambda: None,
) -> Failures:
    """Generate the images that are missing in a folder, in order, and save each batch at once.

    Args:
        share: the settings of each image, sorted by `shared_settings`; those that differ in prompt
            and seed only are generated together.
        limits: the most images at once for each size; a size that runs out of memory is noted.
        on_saved: called after each batch.

    Returns:
        Why an image could not be generated, by the name of its file.

    Raises:
        OSError: an image cannot be written.
        RuntimeError: three different images failed in the same way, other than for memory.
    """
    failures: Failures = {}
    for _, alike in groupby(share, key=shared_settings):
        missing = (each for each in alike if not (folder / name_of(each)).exists())
        for first in missing:
            switch_lora(pipeline, first.loras)
            batch = [first, *islice(missing, limits[size_of(first)] - 1)]
            failures |= _generate_batch(pipeline, batch, folder, limits)
            on_saved()
            for problem, count in Counter(failures.values()).items():
                if count >= ALIKE and problem != OUT_OF_MEMORY:
                    raise RuntimeError(
                        f"{count} images failed in the same way, so the sweep stopped: {problem}"
                    )
    return failures


def shared_settings(settings: Settings) -> tuple:
    """What images have in common that are generated together; it sorts."""
    values = [str(getattr(settings, name)) for name in SHARED]
    # To Stable Diffusion XL, an empty negative prompt is not the same as none.
    return (*values, bool(settings.negative_prompt), *settings.loras.items())


def size_of(settings: Settings) -> tuple[int | None, int | None]:
    """Return what the memory of an image depends on: its height and width."""
    return settings.height, settings.width


def limit_for(size: tuple[int | None, int | None], device: str) -> int:
    """Return how many images of a size to try at once on a "cpu" or another type of device."""
    pixels = (size[0] or 512) * (size[1] or 512)
    return max(1, (PIXELS_ON_CPU if device == "cpu" else PIXELS_ON_GPU) // pixels)


def _generate_batch(
    pipeline: Any, batch: Sequence[Settings], folder: Path, limits: Limits
) -> Failures:
    """Generate and save a batch; halve one that fails, down to the images that cannot be made."""
    start, size, middle = time.perf_counter(), size_of(batch[0]), len(batch) // 2
    if len(batch) <= limits[size]:  # an earlier part may have run out of memory
        try:
            images = generate(pipeline, batch)
        except Exception as error:  # whatever the model or the device raises
            problem = OUT_OF_MEMORY if is_out_of_memory(error) else str(error) or repr(error)
        else:
            seconds = (time.perf_counter() - start) / len(batch)
            for image, settings in zip(images, batch, strict=True):
                save_image(image, folder / name_of(settings), settings, seconds=seconds)
                if explain_black([image]):
                    print(f"{name_of(settings)} is black (safety checker or float16 overflow).")
            return {}
        free_memory()
        if problem == OUT_OF_MEMORY:
            limits[size] = max(1, middle)
        if not middle:
            return {name_of(batch[0]): problem}
    first = _generate_batch(pipeline, batch[:middle], folder, limits)
    return first | _generate_batch(pipeline, batch[middle:], folder, limits)
