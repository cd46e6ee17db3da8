"""Load a pipeline: which model, on which device, in which precision, with which scheduler."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from helpers.changes import use_scheduler
from helpers.folders import check_folder, find_folder, load_file, variant_of
from helpers.models import MODELS, say_once
from helpers.shapes import empty_pipeline, fill_with_random_weights

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

    from helpers.pipelines import Pipeline

SMALL = 50e6  # parameters
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_pipeline(
    model: str | Path = "tiny-portraits",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    scheduler: str | type[SchedulerMixin] | None = None,
) -> DiffusionPipeline:
    """Load a pipeline from safetensors files and move it to the device.

    On a CPU, PyTorch is told how many threads to use (see `pick_threads`). For a model with random
    weights a sentence is printed, once, that says what they are good for.

    Args:
        model: a name of `MODELS`, an id on the Hub ("owner/name"), a local folder, or one
            safetensors file that diffusers knows.
        device: "auto" (CUDA, else MPS, else the CPU) or a device of PyTorch.
        dtype: "auto" (see `pick_dtype`), "float32", "bfloat16" or "float16".
        scheduler: a name or class to take the place of the checkpoint's own (see `use_scheduler`).

    Returns:
        The `DiffusionPipeline` itself; its progress bar is silent where `CI` is set.

    Raises:
        ValueError: the model is unknown, was removed from the Hub or has only pickle files; or the
            device, dtype or scheduler does not fit.
        FileNotFoundError: the folder holds no model_index.json, or lacks a part.
        ConnectionError: the Hub is out of reach.
        OSError: the disk is full.

    Source: diffusers, `DiffusionPipeline.from_pretrained`.

    Example:
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu", dtype="float32")
        >>> type(pipeline).__name__, pipeline.unet.dtype
        ('StableDiffusionPipeline', torch.float32)
    """
    device = pick_device(device)
    dtype = pick_dtype(device, dtype)
    quieten()
    from diffusers import DiffusionPipeline, StableDiffusionPipeline

    folder = find_folder(model)
    row = MODELS.get(str(model))
    if row and row.random_weights:
        say_once(f"{row.name}: {row.description}")
        if device.type == "cpu":
            say_once(f"On a CPU, {row.name} can take minutes for a picture of 20 steps.")
        pipeline = fill_with_random_weights(empty_pipeline(folder, dtype), device)
        pipeline.register_to_config(_name_or_path=folder)  # as from_pretrained does
    elif folder.is_file():
        pipeline = load_file(StableDiffusionPipeline, folder, dtype=dtype).to(device)
    else:
        check_folder(folder, Path(model).name)
        pipeline = DiffusionPipeline.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            variant=variant_of(folder),
        ).to(device)
    if device.type == "cpu":
        torch.set_num_threads(pick_threads(pipeline))
    pipeline.set_progress_bar_config(disable=bool(os.environ.get("CI")), leave=False)
    return pipeline if scheduler is None else use_scheduler(pipeline, scheduler)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Choose where to run: CUDA, else MPS, else the CPU; or check the device asked for.

    Raises:
        ValueError: PyTorch does not know the device, or this machine does not have it.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"{device!r} is not a device of PyTorch: use 'auto', 'cuda', 'mps' or 'cpu'."
        ) from error
    present = {"cpu": 1, "mps": int(mps), "cuda": torch.cuda.device_count() if cuda else 0}
    if (chosen.index or 0) >= present.get(chosen.type, 0):
        raise ValueError(
            f"There is no device {str(chosen)!r} that PyTorch {torch.__version__} can use here: "
            f"use device='auto', which takes {str(pick_device())!r}."
        )
    return chosen


def pick_dtype(device: str | torch.device, dtype: str | torch.dtype = "auto") -> torch.dtype:
    """Choose the precision that suits the device, or check the one asked for.

    "auto" hangs on the device alone, so that a seed means the same picture on every machine of a
    kind: float32 on a CPU, whatever its processor can do; float16 on MPS, where bfloat16 needs
    macOS 14 and is emulated on M1 and M2; float16 on a GPU of NVIDIA's Volta generation (2017) or
    newer, a T4 included, which only emulates bfloat16; float32 on older ones, where float16 is
    often slow.

    Raises:
        ValueError: float16 is asked for on a CPU, or the dtype is none of the three.

    Source: openxla/xla issue 12429 for the T4; Comfy-Org/ComfyUI issue 5224 and
    huggingface/transformers pull request 40458 for MPS.

    Example:
        >>> pick_dtype("cpu", "bfloat16")
        torch.bfloat16
    """
    device = torch.device(device)
    if dtype == "auto":
        return _suitable_dtype(device)
    chosen = DTYPES.get(str(dtype).removeprefix("torch."))
    if chosen is None:
        raise ValueError(f"{dtype!r} is not a dtype to draw in: use 'auto', {', '.join(DTYPES)}.")
    if device.type == "cpu" and chosen is torch.float16:
        raise ValueError(
            "float16 is made for GPUs: on a CPU it lacks some kernels and crawls in the others. "
            "Use dtype='auto', or 'float32', or 'bfloat16' where the processor has it."
        )
    return chosen


def pick_threads(pipeline: Pipeline) -> int:
    """Choose how many threads suit a pipeline on a CPU: one if its networks are small, else all.

    Threads wait for one another many times in a step: where another program holds a core, all come
    as late as the one on it, and a small network gains little by a second one in any case. Where
    OMP_NUM_THREADS is set, it decides.

    Example:
        >>> _ = os.environ.pop("OMP_NUM_THREADS", None)
        >>> pick_threads(load_pipeline("tiny-portraits", device="cpu"))
        1
    """
    if asked := os.environ.get("OMP_NUM_THREADS", ""):
        return int(asked) if asked.isdecimal() and int(asked) else torch.get_num_threads()
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    parameters = sum(one.numel() for network in networks for one in network.parameters())
    return 1 if parameters < SMALL else os.cpu_count() or 1


def checkpoint(model: str) -> Path:
    """What `from_pretrained` loads for a model: a folder, fetched first where it is on the Hub.

    For a model of random weights, which has nothing to load, it is the embedded model's.

    Example:
        >>> checkpoint("sd15-shape").name
        'tiny-portraits'
    """
    known = MODELS.get(model)
    return find_folder("tiny-portraits" if known and known.random_weights else model)


def quieten() -> None:
    """Silence what a reader cannot act on: bars in CI, and a notice about torchvision.

    Example:
        >>> quieten()
    """
    # Pillow's image processor is what this project uses, so its absence is no news.
    logging.getLogger("transformers.utils.import_utils").setLevel(logging.ERROR)
    if os.environ.get("CI"):
        import diffusers
        import transformers

        diffusers.logging.disable_progress_bar()
        transformers.logging.disable_progress_bar()  # and those of huggingface_hub


def _suitable_dtype(device: torch.device) -> torch.dtype:
    """By the kind of device and its generation alone: a stopwatch would let neighbours decide."""
    if device.type != "cuda":
        return torch.float16 if device.type == "mps" else torch.float32
    return torch.float16 if torch.cuda.get_device_capability(device) >= (7, 0) else torch.float32
