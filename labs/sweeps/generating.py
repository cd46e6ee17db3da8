"""Generate the images of one process, in batches that memory holds; save each one whole."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.inputs import get_inputs
from helpers.memory import free_memory, is_out_of_memory, largest_batch, peak_memory
from labs.images import Settings, save_image
from labs.images.generate import SHARED, generate
from labs.sweeps.jobs import name_of
from labs.sweeps.loras import switch_lora

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# Larger batches are not tried: they gain nothing, and a killed process loses a whole batch.
MOST_ON_CPU, MOST_ON_GPU = 8, 32
ALIKE = 3  # so many images that fail in the same way show that the fault is not theirs

Failures = dict[str, str]  # why an image could not be generated, by the name of its file
Limits = dict[tuple[int | None, int | None], int]  # the most images at once, by height and width


def generate_share(
    pipeline: DiffusionPipeline,
    share: Sequence[Settings],
    folder: Path,
    limits: Limits,
    *,
    processes: int = 1,
    first_batch: int | None = None,
    on_saved: Callable[[], object] = bool,
) -> Failures:
    """Generate the images that are missing in a folder, in order, and save each batch at once.

    Args:
        share: the settings of each image, sorted by `shared_settings`; those that differ in prompt
            and seed only are generated together.
        limits: the most images at once for each size. A size that is not there yet is measured,
            and one that runs out of memory is noted.
        processes: how many share this machine's memory.
        first_batch: how many images to begin with; each batch may be twice the one before. None:
            as many as the limits say.
        on_saved: called after each batch.

    Returns:
        Why an image could not be generated, by the name of its file.

    Raises:
        OSError: an image cannot be written.
        RuntimeError: three different images failed in the same way, other than for memory.
    """
    failures: Failures = {}
    most = first_batch or MOST_ON_GPU
    for _, alike in groupby(share, key=shared_settings):
        missing = (each for each in alike if not (folder / name_of(each)).exists())
        for first in missing:
            switch_lora(pipeline, first.loras)
            if size_of(first) not in limits:
                limits[size_of(first)] = find_batch(pipeline, first, processes)
            batch = [first, *islice(missing, min(most, limits[size_of(first)]) - 1)]
            most *= 2
            failures |= _generate_batch(pipeline, batch, folder, limits)
            on_saved()
            _raise_if_alike(failures)
    return failures


def shared_settings(settings: Settings) -> tuple:
    """What images have in common that are generated together; it sorts."""
    values = [str(getattr(settings, name)) for name in SHARED]
    return (*values, *settings.loras.items())


def size_of(settings: Settings) -> tuple[int | None, int | None]:
    """Return what the memory of an image depends on: its height and width."""
    return settings.height, settings.width


def find_batch(pipeline: DiffusionPipeline, settings: Settings, processes: int = 1) -> int:
    """Find how many images of a size memory holds at once, up to a number that is enough.

    A GPU is filled until it refuses. On a CPU, where the system would rather end the process, one
    image is measured, and half of the free memory is shared among the processes of the machine.
    """
    size = {"height": settings.height, "width": settings.width}
    quiet = copy.copy(pipeline)
    quiet.set_progress_bar_config(disable=True)

    def inputs(batch: int) -> dict[str, Any]:
        return {**get_inputs(batch, num_inference_steps=1), **size}

    if pipeline._execution_device.type != "cpu":
        return largest_batch(quiet, inputs, limit=MOST_ON_GPU)
    import psutil

    peak = peak_memory(lambda: quiet(**inputs(1)), quiet).bytes
    free = psutil.virtual_memory().available / 2 / processes
    return max(1, min(MOST_ON_CPU, int(free // peak)))


def _generate_batch(
    pipeline: Any, batch: Sequence[Settings], folder: Path, limits: Limits
) -> Failures:
    """Generate and save a batch; halve one that fails, down to the images that cannot be made."""
    limit, start = limits[size_of(batch[0])], time.perf_counter()
    if len(batch) > limit:  # a half ran out of memory
        parts = [batch[i : i + limit] for i in range(0, len(batch), limit)]
        return _merge(_generate_batch(pipeline, part, folder, limits) for part in parts)
    try:
        images = generate(pipeline, batch)
    except Exception as error:  # whatever the model or the device raises
        out_of_memory, problem = is_out_of_memory(error), str(error) or repr(error)
    else:
        seconds = (time.perf_counter() - start) / len(batch)
        for image, settings in zip(images, batch, strict=True):
            save_image(image, folder / name_of(settings), settings, seconds=seconds)
        return {}
    free_memory()
    middle = len(batch) // 2
    if out_of_memory:
        limits[size_of(batch[0])] = max(1, middle)
    if not middle:
        return {name_of(batch[0]): f"out of memory: {problem}" if out_of_memory else problem}
    halves = batch[:middle], batch[middle:]
    return _merge(_generate_batch(pipeline, half, folder, limits) for half in halves)


def _merge(parts: Iterable[Failures]) -> Failures:
    return {name: problem for part in parts for name, problem in part.items()}


def _raise_if_alike(failures: Failures) -> None:
    problems = Counter(text for text in failures.values() if not text.startswith("out of memory"))
    for problem, count in problems.most_common(1):
        if count >= ALIKE:
            raise RuntimeError(
                f"{count} images failed in the same way, so the sweep has stopped: {problem}"
            )
