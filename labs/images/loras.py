"""Switch LoRA weights on in a pipeline, by their path and strength."""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from helpers.hub import find_weights
from helpers.memory import is_out_of_memory
from labs.images.describe import lora_strengths


def use_lora(pipeline: Any, lora: str | Path | None, strength: float | str = 1.0) -> None:
    """Let a pipeline generate with these LoRA weights alone, or with none.

    Args:
        lora: a safetensors file, a folder with one, an id on the Hub, or a folder of models/;
            None for none.
        strength: 1 for the weights as they are.

    Raises:
        ValueError: it does not fit the model as a whole, or the strength is no number.
        OSError: there is no such file, or the Hub cannot be reached.
    """
    if lora is None:
        return switch_lora(pipeline, {})
    try:
        strength = float(strength)
    except (TypeError, ValueError):
        raise ValueError(f"A LoRA's strength should be a number, not {strength!r}.") from None
    if not isinstance(lora, str | Path):
        raise ValueError(f"LoRA weights should be a path or a name, not {lora!r}.")
    place = find_weights(lora)
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    files = [file for file in files if file.stem == "pytorch_lora_weights"] or files
    if len(files) > 1:
        raise ValueError(f"{lora} has {len(files)} safetensors files: give the path of one.")
    file, name = files[0], _adapter_name(files[0])
    before = lora_strengths(pipeline)
    with warnings.catch_warnings(action="ignore"):  # PEFT warns of a second adapter
        try:
            if not any(name in names for names in pipeline.get_list_adapters().values()):
                _load(pipeline, file, name)
            switch_lora(pipeline, {name: strength})
        except Exception as error:  # of many kinds, some with hundreds of lines
            if hasattr(pipeline, "delete_adapters"):
                pipeline.delete_adapters(name)  # of the networks that it was loaded into
                switch_lora(pipeline, before)
            if isinstance(error, ImportError) or is_out_of_memory(error):
                raise  # PEFT says what is missing or too old
            message = f"{file.name} does not hold LoRA weights for this model: use one made for it."
            raise ValueError(message) from error


def switch_lora(pipeline: Any, strengths: Mapping[str, float]) -> None:
    """Let a pipeline use these of its LoRA weights, by the names of their adapters."""
    if strengths:
        pipeline.enable_lora()
        pipeline.set_adapters(list(strengths), list(strengths.values()))
    elif hasattr(pipeline, "disable_lora") and pipeline.get_list_adapters():
        pipeline.disable_lora()


def _load(pipeline: Any, file: Path, name: str) -> None:
    """Load all that a file holds: Diffusers only logs a warning of layers that are not there."""
    options = {"weight_name": file.name, "unet_config": getattr(pipeline, "unet", pipeline).config}
    if any("dora_scale" in key for key in load_file(file)):
        raise ValueError("It holds DoRA weights, a part of which Diffusers would leave out.")
    state = pipeline.lora_state_dict(file.parent, **options)
    state = state[0] if isinstance(state, tuple) else state  # some return alphas, too
    logger = logging.getLogger("diffusers.loaders.lora_base")  # warns of parts without LoRA weights
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name)
    finally:
        logger.setLevel(level)
    networks = [getattr(pipeline, part) for part in pipeline.get_list_adapters()]
    loaded = [key for network in networks for key, _ in network.named_parameters()]
    if len(state) != sum(name in key.split(".") for key in loaded):
        raise ValueError("It holds weights of layers that the model does not have.")


def _adapter_name(file: Path) -> str:
    """Name LoRA weights after their file or folder and its content, wherever it lies."""
    stem = file.parent.name if file.stem == "pytorch_lora_weights" else file.stem
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', stem)}-{digest}"
