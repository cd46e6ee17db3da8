"""Load a pipeline: which model, on which device, in which precision, with which scheduler."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers.hub import check_parts, find_model, find_weights, nearest, variant_of
from helpers.memory import modules_of, tensors_of
from helpers.models import MODELS, MODELS_FOLDER

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The GTX 16 series, and other cards with its chips.
BROKEN_FLOAT16 = r"GTX 16|MX[45]50|\bT(400|500|550|600|1000|1200|2000)\b|CMP 30HX"
SMALL = 50e6  # parameters of a pipeline that one CPU thread runs best

# The pipelines that can be built from configs alone, with the classes of their text encoders.
PIPELINES = {
    "StableDiffusionPipeline": {"text_encoder": "CLIPTextModel"},
    "StableDiffusionXLPipeline": {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    },
}


def load_pipeline(
    model: str | Path = "tiny-portraits",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    scheduler: str | type[SchedulerMixin] | None = None,
) -> DiffusionPipeline:
    """Load a pipeline from safetensors files and move it to the device.

    Args:
        model: a name of `MODELS`, a repository on the Hub ("owner/name"), or a local folder.
        device: "auto" (CUDA, else MPS, else the CPU) or a device of PyTorch.
        dtype: "auto" (see `pick_dtype`), "float32", "bfloat16" or "float16".
        scheduler: the name or class of a scheduler to use instead of the checkpoint's own.

    Returns:
        The `DiffusionPipeline` itself; its progress bar is silent where `CI` is set.

    Raises:
        ValueError: the model is unknown, was removed from the Hub or has only pickle files; or the
            device, dtype or scheduler does not fit.
        OSError: there is no such file, or the folder is not a pipeline or lacks a part; the Hub
            cannot be reached; or the disk is full.
    """
    device = pick_device(device)
    dtype = pick_dtype(device, dtype)
    quiet_libraries()
    from diffusers import DiffusionPipeline

    path = find_model(model)
    row = MODELS.get(str(model))
    if row and row.random_weights:
        print(f"{row.name}: {row.description}")
        pipeline = fill_with_random_weights(empty_pipeline(path, dtype), device)
        pipeline.register_to_config(_name_or_path=path)  # as from_pretrained does
    else:
        check_parts(path)
        options = {"dtype": dtype, "variant": variant_of(path), "use_safetensors": True}
        pipeline = DiffusionPipeline.from_pretrained(path, trust_remote_code=False, **options)
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=bool(os.environ.get("CI")), leave=False)
    return pipeline if scheduler is None else use_scheduler(pipeline, scheduler)


def checkpoint(name: str) -> Path:
    """Return what `from_pretrained` loads for a model, VAE, judge or LoRA: a folder or a file.

    It is downloaded first if it is on the Hub.

    Args:
        name: a name of `MODELS`, a VAE, judge or LoRA that it names, or the folder or repository of
            a model.

    Raises:
        ValueError, OSError: as `load_pipeline`, or the model has random weights and so no file.
    """
    if name in MODELS and MODELS[name].random_weights:
        raise ValueError(f"{name!r} has random weights and no files: choose another model here.")
    parts = {part for row in MODELS.values() for part in (row.vae, row.few_steps, row.judge)}
    return find_weights(name) if name in parts else find_model(name)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Choose where to run: CUDA, else MPS, else the CPU; or check the device that is asked for.

    Raises:
        ValueError: there is no such device, or this machine does not have it.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"{device!r} is not a device: use 'auto', 'cpu', 'cuda' or 'mps'."
        ) from error
    present = {"cpu": 1, "mps": int(mps), "cuda": torch.cuda.device_count() if cuda else 0}
    if (chosen.index or 0) >= present.get(chosen.type, 0):
        raise ValueError(
            f"PyTorch {torch.__version__} finds no device {str(chosen)!r} here: "
            f"use device='auto', which chooses {str(pick_device())!r}."
        )
    return chosen


def pick_dtype(device: str | torch.device, dtype: str | torch.dtype = "auto") -> torch.dtype:
    """Choose the precision that suits the device, or check the one that is asked for.

    "auto" depends only on the kind of device: float32 on a CPU; float16 on MPS, and on NVIDIA GPUs
    from Volta (2017) on, as a T4 only emulates bfloat16; float32 on older ones, where float16 is
    often slow, and on the GTX 16 series and its relatives, where it gives black images.

    Raises:
        ValueError: float16 is asked for on a CPU, or the dtype is not one of the three.

    Source: openxla/xla issue 12429 for the T4; ComfyUI issue 5224 and transformers pull request
    40458 for MPS; PyTorch issue 58123 and diffusers issue 2153 for the GTX 16 series;
    ComfyUI, `should_use_fp16`, for the cards with the same chips.
    """
    device = pick_device(device)
    if dtype == "auto":
        if device.type == "cuda":
            volta = torch.cuda.get_device_capability(device) >= (7, 0)
            broken = re.search(BROKEN_FLOAT16, torch.cuda.get_device_name(device))
            return torch.float16 if volta and not broken else torch.float32
        return torch.float16 if device.type == "mps" else torch.float32
    chosen = DTYPES.get(str(dtype).removeprefix("torch."))
    if chosen is None:
        raise ValueError(f"{dtype!r} is not supported here: use 'auto', {', '.join(DTYPES)}.")
    if device.type == "cpu" and chosen is torch.float16:
        raise ValueError("float16 is made for GPUs: use 'auto', 'float32' or 'bfloat16' on a CPU.")
    return chosen


def set_threads_for(pipeline: DiffusionPipeline) -> int:
    """Set how many CPU threads PyTorch uses in this process: one for a small pipeline, else all.

    In a small network, threads wait for each other longer than they save, the more so where another
    program occupies a core.

    Returns:
        The number of threads: OMP_NUM_THREADS where it is set; one for a pipeline of fewer than 50
        million parameters; else the number of cores that this process may use.
    """
    parameters = sum(tensor.numel() for tensor in tensors_of(*modules_of(pipeline).values()))
    threads = 1 if parameters < SMALL else usable_cores()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        threads = int(asked)
    torch.set_num_threads(threads)
    return threads


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Use this many CPU threads inside a `with` block, then restore the previous number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """The number of cores that this process may use, which its affinity may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def use_scheduler(
    pipeline: DiffusionPipeline, scheduler: str | type[SchedulerMixin]
) -> DiffusionPipeline:
    """Replace the pipeline's scheduler with another, built from the present one's config.

    Args:
        pipeline: changed in place and returned.
        scheduler: one of `compatible_schedulers(pipeline)`, the class or its name.

    Raises:
        ValueError: the scheduler does not fit the pipeline, which keeps its own.
    """
    known = compatible_schedulers(pipeline)
    name = getattr(scheduler, "__name__", str(scheduler))
    if name not in known:
        raise ValueError(
            f"{name!r:.40} is not a scheduler that fits this pipeline, follows its seeds and is "
            f"installed. {nearest(name, known)}"
        )
    pipeline.scheduler = known[name].from_config(pipeline.scheduler.config)
    return pipeline


def compatible_schedulers(pipeline: DiffusionPipeline) -> dict[str, type[SchedulerMixin]]:
    """The schedulers that can sample from a pipeline, by name.

    EDM's, which ignore the noise schedule that the model was trained with, would generate noise;
    DPM-Solver SDE draws noise without the generator, so no seed generates its image again.
    """
    trained = {"beta_start", "beta_end"} & set(pipeline.scheduler.config)
    found = {}
    for kind in [*pipeline.scheduler.compatibles, type(pipeline.scheduler)]:
        parameters = set(inspect.signature(kind.__init__).parameters)
        if trained <= parameters and "noise_sampler_seed" not in parameters:
            found[kind.__name__] = kind
    return dict(sorted(found.items()))


def quiet_libraries() -> None:
    """Silence what a reader cannot act on: progress bars in CI, a notice about torchvision."""
    logging.getLogger("transformers.utils.import_utils").setLevel(logging.ERROR)
    if os.environ.get("CI"):
        import diffusers
        import transformers

        diffusers.logging.disable_progress_bar()
        transformers.logging.disable_progress_bar()  # and those of huggingface_hub


def empty_pipeline(
    folder: Path, dtype: torch.dtype, safety_checker: bool = False
) -> DiffusionPipeline:
    """Build a Stable Diffusion 1.x or XL pipeline from its configs, on the meta device.

    Its parameters take no memory there. The tokenizer is the embedded model's.

    Args:
        folder: in Diffusers' layout.
        safety_checker: whether to build the one whose config is in the folder.

    Source: accelerate, `init_empty_weights`; transformers, `no_init_weights`.
    """
    import diffusers
    import transformers
    from accelerate import init_empty_weights
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers.initialization import no_init_weights

    name = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    parts: dict[str, Any] = {}
    with init_empty_weights(), no_init_weights():
        for part, encoder in PIPELINES[name].items():
            config = transformers.CLIPTextConfig.from_pretrained(folder, subfolder=part)
            parts[part] = getattr(transformers, encoder)(config)
        for part, kind in (("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL")):
            network = getattr(diffusers, kind)
            parts[part] = network.from_config(network.load_config(folder, subfolder=part))
        if safety_checker:
            config = transformers.CLIPConfig.from_pretrained(folder, subfolder="safety_checker")
            parts["safety_checker"] = StableDiffusionSafetyChecker(config)
    for part in parts.values():
        torch.nn.Module.to(part.eval().requires_grad_(False), dtype)
    words = transformers.CLIPTokenizer.from_pretrained(MODELS_FOLDER / "tiny-portraits/tokenizer")
    parts |= {part.replace("text_encoder", "tokenizer"): words for part in PIPELINES[name]}
    if name == "StableDiffusionPipeline":
        parts = {"safety_checker": None, "requires_safety_checker": False} | parts
        parts["feature_extractor"] = transformers.CLIPImageProcessor() if safety_checker else None
    settings = json.loads((folder / "scheduler/scheduler_config.json").read_text(encoding="utf-8"))
    scheduler = getattr(diffusers, settings["_class_name"]).from_config(settings)
    return getattr(diffusers, name)(**parts, scheduler=scheduler)


def fill_with_random_weights(
    pipeline: DiffusionPipeline, device: str | torch.device
) -> DiffusionPipeline:
    """Give what `empty_pipeline` returns random weights, created on the device where they are used.

    A matrix or kernel is uniform within 1 / sqrt(inputs), which keeps activations far below
    float16's limit; norms start as the identity. The seed is fixed.
    """
    generator = torch.Generator(device).manual_seed(0)
    for module in [module for part in modules_of(pipeline).values() for module in part.modules()]:
        for name, empty in module.named_parameters(recurse=False):
            weight = torch.empty_like(empty, device=device)
            if weight.ndim > 1:
                bound = weight[0].numel() ** -0.5
                weight.uniform_(-bound, bound, generator=generator)
            else:
                weight.fill_(name == "weight")  # of a norm; biases are 0
            setattr(module, name, torch.nn.Parameter(weight, requires_grad=False))
    return pipeline.to(device)
