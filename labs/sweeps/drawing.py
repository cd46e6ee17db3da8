"""Draw one process's share of a sweep, in batches that memory holds; keep each picture whole."""

from __future__ import annotations

import copy
import errno
import os
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from helpers.changes import use_scheduler
from helpers.inputs import get_inputs, make_generators
from helpers.memory import (
    bytes_of,
    free_memory,
    is_out_of_memory,
    largest_batch,
    modules_of,
    peak_memory,
    tensors_of,
)
from labs.images.settings import Settings, save_image
from labs.sweeps.jobs import name_of

if TYPE_CHECKING:
    from helpers.pipelines import StableDiffusion

# No larger batch is tried. More at once gains nothing, and a killed process loses it.
MOST = {"cpu": 8}
MOST_ON_GPU = 32
Reader = Callable[[str], torch.Tensor]


def draw_share(
    pipeline: StableDiffusion,
    share: Iterable[Settings],
    folder: Path,
    *,
    batch_size: int | None = None,
    on_saved: Callable[[], object] = bool,
) -> dict[str, str]:
    """Draw pictures and save each as soon as its batch is there.

    Pictures of one size, scheduler, number of steps and guidance are drawn together. A batch that
    memory does not hold is halved, and so is one that fails otherwise, until the one is found that
    cannot be drawn.

    Args:
        pipeline: what draws; it stays as it is.
        share: the settings of each picture, as `describe_jobs` returns them.
        folder: where to.
        batch_size: pictures at once at most; None for what memory holds (see `find_batch`).
        on_saved: called after each batch.

    Returns:
        By the name of the file, why a picture could not be drawn.

    Raises:
        OSError: a picture cannot be written: the disk is full, or the folder is gone.

    Example:
        >>> import tempfile
        >>> from helpers import load_pipeline
        >>> draw_share(load_pipeline("tiny-portraits", device="cpu"), [], Path(tempfile.mkdtemp()))
        {}
    """
    refused: dict[str, str] = {}
    read = _reader(pipeline)
    for _, alike in groupby(sorted(share, key=_look), key=_look):
        todo = list(alike)
        size = most = batch_size or find_batch(pipeline, todo[0], len(todo))
        while todo:
            batch, start = todo[:size], time.perf_counter()
            try:
                images = _draw(pipeline, batch, read)
            except Exception as error:
                out_of_memory, why = is_out_of_memory(error), str(error) or repr(error)
            else:
                seconds = (time.perf_counter() - start) / len(batch)
                for settings, image in zip(batch, images, strict=True):
                    _save(image, folder / name_of(settings), settings, seconds)
                todo = todo[len(batch) :]
                on_saved()
                continue
            pipeline.maybe_free_model_hooks()
            free_memory()
            size = len(batch) // 2
            if not size:
                refused[name_of(todo.pop(0))] = why
            most = max(1, size) if out_of_memory else most
            size = size or most
    return refused


def find_batch(pipeline: StableDiffusion, settings: Settings, count: int) -> int:
    """Find how many pictures of a size memory holds at once, none above `count`.

    A GPU is filled until it refuses. On a CPU, where the system would rather end the process, one
    picture is measured, and half of the memory that is free is shared among the host's processes.

    Example:
        >>> from helpers import load_pipeline
        >>> find_batch(load_pipeline("tiny-portraits", device="cpu"), Settings("a knight"), 3)
        3
    """
    size = {"height": settings.height, "width": settings.width}
    device = pipeline._execution_device.type
    quiet = copy.copy(pipeline)
    quiet.set_progress_bar_config(disable=True)

    def inputs(batch: int) -> dict[str, Any]:
        return {**get_inputs(batch, num_inference_steps=1), **size}

    limit = min(count, MOST.get(device, MOST_ON_GPU))
    if device != "cpu":
        return largest_batch(quiet, inputs, limit=limit)
    import psutil

    peak = peak_memory(lambda: quiet(**inputs(1)), quiet).bytes
    one = peak - bytes_of(tensors_of(*modules_of(quiet).values()))
    free = psutil.virtual_memory().available / 2 / int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(limit, int(free // one)))


def _look(settings: Settings) -> tuple:
    """What pictures have in common that are drawn together."""
    sides = (settings.height or 0, settings.width or 0)
    return settings.scheduler, settings.num_inference_steps, settings.guidance_scale, *sides


def _draw(
    pipeline: StableDiffusion, batch: list[Settings], read: Reader | None
) -> list[Image.Image]:
    """Draw pictures of one look at once, with a scheduler of their own."""
    first = batch[0]
    own = use_scheduler(copy.copy(pipeline), first.scheduler)
    own.set_progress_bar_config(disable=True)
    texts: dict[str, Any] = {
        name: [getattr(settings, name) for settings in batch]
        for name in ("prompt", "negative_prompt")
    }
    if read:
        texts = {f"{name}_embeds": torch.cat(list(map(read, of))) for name, of in texts.items()}
    return own(
        **texts,
        num_inference_steps=first.num_inference_steps,
        guidance_scale=first.guidance_scale,
        height=first.height,
        width=first.width,
        generator=make_generators(settings.seed for settings in batch),
    ).images


def _reader(pipeline: StableDiffusion) -> Reader | None:
    """What turns a text into embeddings, each text once; None if the pipeline has to do it."""
    if getattr(pipeline, "unet", None) is None or "text_encoder_2" in pipeline.components:
        return None

    @lru_cache(maxsize=1024)  # 120 kB each in Stable Diffusion 1.5
    @torch.no_grad()
    def read(text: str) -> torch.Tensor:
        return pipeline.encode_prompt(text, pipeline._execution_device, 1, False)[0]

    return read


def _save(image: Image.Image, path: Path, settings: Settings, seconds: float) -> None:
    """Write a picture whole or not at all: under another name first, which then is replaced."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            save_image(image, file, settings, seconds=seconds)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise explain(error, path.parent) from error
    finally:
        part.unlink(missing_ok=True)


def explain(error: OSError, folder: Path) -> OSError:
    """Say what keeps a sweep from writing into its folder, and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = f"The disk with {folder} is full: make room"
    else:
        why = f"{folder} cannot be written to ({error.strerror or error}): give another folder"
    return OSError(f"{why}, and run the same again. What was drawn is kept.")
