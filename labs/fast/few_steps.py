"""Merge LoRA weights of consistency distillation into a pipeline, so that few steps are enough."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.hub import find_weights

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

FILE = "pytorch_lora_weights.safetensors"  # as Diffusers and PEFT name it


def use_few_steps(pipeline: StableDiffusionPipeline, lora: str | Path) -> StableDiffusionPipeline:
    """Merge distilled LoRA weights into the UNet and take `LCMScheduler`, for 1 to 8 steps.

    In Diffusers these are `load_lora_weights`, `fuse_lora`, `unload_lora_weights` and
    `LCMScheduler.from_config`. Here weights that do not fit are refused, where Diffusers only logs
    a warning. Generate with `guidance_scale=1`: the weights were distilled with guidance.

    Args:
        pipeline: changed in place and returned, unless this fails. It must have no other LoRA
            weights yet.
        lora: `MODELS[name].few_steps`, a repository on the Hub, a folder or a safetensors file.

    Raises:
        ValueError: the UNet has LoRA weights already, or the weights are unknown, only in pickle
            files, or made for something else than this UNet.
        FileNotFoundError: there is no such folder or file.
        ConnectionError: the Hub cannot be reached.

    Source: Luo et al. 2023, arXiv:2311.05556.
    """
    from diffusers import LCMScheduler

    path = find_weights(lora)
    file = path / FILE if path.is_dir() else path
    if pipeline.get_list_adapters() or hasattr(pipeline.unet, "few_steps"):
        raise ValueError(
            "The pipeline has LoRA weights already: load it again, then call use_few_steps first."
        )
    _merge(pipeline, file)
    pipeline.unet.few_steps = file  # a merge outlasts unload_lora_weights
    settings = inspect.signature(LCMScheduler.__init__).parameters
    config = {name: value for name, value in pipeline.scheduler.config.items() if name in settings}
    pipeline.scheduler = LCMScheduler.from_config(config)
    return pipeline


def _merge(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Add a file's LoRA weights to the UNet's own, or leave the pipeline as it was."""
    unet = pipeline.unet
    try:
        state, alphas = pipeline.lora_state_dict(
            file.parent, weight_name=file.name, unet_config=unet.config, local_files_only=True
        )
        if not state or not all(key.startswith("unet.") and "lora" in key for key in state):
            raise ValueError("It holds something else than LoRA weights of a UNet.")
        pipeline.load_lora_into_unet(state, alphas, unet=unet)
        if sum("lora_" in name for name, _ in unet.named_parameters()) != len(state):
            raise ValueError("It holds weights of layers that this UNet does not have.")
        pipeline.fuse_lora(components=["unet"])
    except ImportError:  # PEFT says what is missing or too old
        raise
    except Exception as error:  # of many kinds: Diffusers guesses the format from the keys
        raise ValueError(
            f"The weights in {file} are not LoRA weights for this UNet: use weights that were "
            "distilled from the same model."
        ) from error
    finally:
        pipeline.unload_lora_weights()  # merged, if all went well
