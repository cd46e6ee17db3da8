"""Tell which model, weights and changes an image of a pipeline comes from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import torch

from helpers.models import MODELS, MODELS_FOLDER

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

SAMPLES = 8  # numbers that are read of each tensor: enough to tell trainings apart, and quick


def identify(pipeline: DiffusionPipeline) -> tuple[str, str | None]:
    """Return which model a pipeline was loaded from, and its commit on the Hub if it has one.

    Returns:
        A name of `MODELS`, an id on the Hub ("owner/name"), or a folder's name without its path;
        the class's name if it was not loaded from anywhere.

    Source: huggingface_hub, the layout of its cache: models--owner--name/snapshots/commit.
    """
    source = str(pipeline.name_or_path or type(pipeline).__name__)
    folder = Path(source)
    for model in MODELS.values():
        if folder == MODELS_FOLDER / model.id:
            return model.name, None
    cached = folder.parent.parent.name.split("--")
    if folder.parent.name == "snapshots" and cached[0] == "models" and len(cached) == 3:
        return f"{cached[1]}/{cached[2]}", folder.name
    if not folder.exists():
        return source, None
    name = folder.resolve().name
    plain = re.sub(r"[^\w.-]|^[.-]", "_", name, flags=re.ASCII)
    # Two names that read alike in ASCII are still two.
    return (plain if plain == name else f"{plain}-{crc32(name.encode()):08x}"), None


def fingerprint(pipeline: DiffusionPipeline) -> str | None:
    """Return twelve hexadecimal digits that differ when the weights of two pipelines do.

    A few numbers of every tensor are read, in float16, so that the same weights in float16 and in
    float32 have one fingerprint. Active LoRA weights count, at their strength.

    Returns:
        None for a pipeline without weights, or with weights that are kept elsewhere, as
        `enable_sequential_cpu_offload` does.
    """
    digest, loras, networks = hashlib.sha256(), lora_strengths(pipeline), _networks(pipeline)
    for name, network in sorted(networks.items()):
        if (samples := _samples(network, loras)) is None:
            return None
        numbers = [values.to(torch.float16).numpy().tobytes() for values in samples.values()]
        layers = _lora_layers(network)
        scales = [layer.scaling.get(lora) for layer in layers for lora in layer.active_adapters]
        digest.update(f"{name} {' '.join(samples)}".encode() + b"".join(numbers))
        digest.update(repr(scales).encode())
    return digest.hexdigest()[:12] if networks else None


def lora_strengths(pipeline: DiffusionPipeline) -> dict[str, float]:
    """Return the strength of each active LoRA, by the name of its adapter."""
    strengths: dict[str, float] = {}
    for network in _networks(pipeline).values():
        for layer in _lora_layers(network):
            for name in layer.active_adapters:
                if name in layer.scaling and name not in strengths:
                    scale, rank = layer.lora_alpha[name], layer.r[name]
                    scale /= rank**0.5 if layer.use_rslora.get(name) else rank
                    strengths[name] = round(layer.scaling[name] / scale, 4) if scale else 1.0
    return strengths


def unrecorded(pipeline: DiffusionPipeline) -> str:
    """Name what changes a pipeline's images and no setting records; "" if nothing is known.

    A change of the weights is found by comparing them with the files that they were loaded from.
    A tokenizer that was changed, or Python code that was replaced, is not found.
    """
    found = [_changed_config(pipeline)]
    source, model = Path(str(pipeline.name_or_path)), MODELS.get(identify(pipeline)[0])
    for name, network in _networks(pipeline).items():
        place = getattr(getattr(network, "config", None), "_name_or_path", None)
        if place and pipeline.name_or_path and Path(place) not in (source, source / name):
            found.append(f"another {name}")
        if any(getattr(block, "b1", None) for block in getattr(network, "up_blocks", ())):
            found.append("FreeU")
        if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
            found.append(f"a hook on the {name}")
        if not (model and model.random_weights) and not _is_as_stored(source / name, network):
            found.append(f"changed weights of the {name}")
    return ", ".join(dict.fromkeys(filter(None, found)))


def _networks(pipeline: Any) -> dict[str, Any]:
    """The parts that take part in generating; the safety checker only judges."""
    return {
        name: getattr(part, "_orig_mod", part)  # what torch.compile wraps
        for name, part in getattr(pipeline, "components", {}).items()
        if isinstance(part, torch.nn.Module) and name != "safety_checker"
    }


def _lora_layers(network: torch.nn.Module) -> list[Any]:
    """The layers in which LoRA weights are on."""
    layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "lora_A")]
    return [layer for layer in layers if not layer.disable_adapters]


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().flatten()[:: max(1, tensor.numel() // SAMPLES)][:SAMPLES]


def _samples(network: torch.nn.Module, loras: Iterable[str]) -> dict[str, torch.Tensor] | None:
    """A few numbers of each tensor by its name, on the CPU; None for weights kept elsewhere."""
    tensors = {
        name.replace(".base_layer", ""): tensor
        for name, tensor in network.named_parameters()
        if ".lora_" not in name or any(f".{lora}." in name for lora in loras)
    }
    if any(tensor.is_meta for tensor in tensors.values()):
        return None
    return {name: _sample(tensor).cpu() for name, tensor in tensors.items()}


@lru_cache(maxsize=16)
def _stored_samples(folder: Path) -> dict[str, list[torch.Tensor]]:
    """The same numbers as `_samples` returns, of all safetensors files in a folder."""
    from safetensors import safe_open

    found: dict[str, list[torch.Tensor]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, it is not a dict
                found.setdefault(name, []).append(_sample(tensors.get_tensor(name)))
    return found


def _is_as_stored(folder: Path, network: torch.nn.Module) -> bool:
    """Whether weights are those of the files, as far as their names are the same there."""
    stored, samples = _stored_samples(folder), _samples(network, ()) or {}
    return all(
        any(_close(values, each.to(values.dtype)) for each in stored.get(name, [values]))
        for name, values in samples.items()
    )


def _close(values: torch.Tensor, stored: torch.Tensor) -> bool:
    """Whether numbers are alike but for the rounding that merging LoRA weights and back leaves."""
    near = {"rtol": 1e-3, "atol": 1e-5}
    return values.shape == stored.shape and torch.allclose(values.float(), stored.float(), **near)


def _changed_config(pipeline: Any) -> str:
    """What differs from the scheduler's config in the model's folder."""
    folder, kind = Path(str(pipeline.name_or_path)) / "scheduler", type(pipeline.scheduler)
    if not folder.is_dir():
        return ""
    usual, config = kind.from_config(kind.load_config(folder)).config, pipeline.scheduler.config
    names = [name for name in usual if name[0] != "_" and config.get(name) != usual[name]]
    changed = [f"{name}={config.get(name)!r}"[:80] for name in names]
    return f"a changed scheduler ({', '.join(changed[:3])})" if changed else ""
