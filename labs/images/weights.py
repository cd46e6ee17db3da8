"""Tell by a fingerprint whether a pipeline draws with the weights that it was loaded with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from helpers.pipelines import Pipeline

SAMPLES = 8  # numbers that are read of each tensor: enough to tell trainings apart, and quick
FREE_U = ("s1", "s2", "b1", "b2")
_as_loaded: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()


def fingerprint(pipeline: Pipeline) -> str:
    """Return a short text that changes when the weights do that a pipeline draws with.

    A few numbers of every tensor are read, in float16, so that the same weights are told alike in
    float16 and in float32. What `enable_freeu` sets counts too.

    Returns:
        Twelve hexadecimal digits; "" for what has no weights, or has them elsewhere, as sequential
        offload does.

    Example:
        >>> from helpers import load_pipeline, use_vae
        >>> pipeline = load_pipeline("tiny-portraits-early", device="cpu")
        >>> before = fingerprint(pipeline)
        >>> before == fingerprint(use_vae(pipeline, "tiny-portraits-vae-ft"))
        False
    """
    networks = networks_of(pipeline)
    if not networks or any(
        one.is_meta for network in networks.values() for one in network.parameters()
    ):
        return ""
    digest = hashlib.sha256()
    for name, network in sorted(networks.items()):
        digest.update(f"{name} {_free_u(network)}".encode() + _read(network))
    return digest.hexdigest()[:12]


def networks_of(pipeline: Pipeline) -> dict[str, torch.nn.Module]:
    """What takes part in drawing; the safety checker only judges.

    Example:
        >>> from helpers import load_pipeline
        >>> sorted(networks_of(load_pipeline("tiny-portraits", device="cpu")))
        ['text_encoder', 'unet', 'vae']
    """
    parts = getattr(pipeline, "components", {}).items()
    return {
        name: part
        for name, part in parts
        if isinstance(part, torch.nn.Module) and name != "safety_checker"
    }


def changes_of(pipeline: Pipeline) -> list[str]:
    """Name the changes to a pipeline that can be told: another autoencoder, LoRA weights, FreeU.

    Example:
        >>> from helpers import load_pipeline, use_vae
        >>> pipeline = load_pipeline("tiny-portraits-early", device="cpu")
        >>> changes_of(use_vae(pipeline, "tiny-portraits-vae-ft"))
        ['vae: tiny-portraits-vae-ft']
    """
    found = []
    own = Path(str(pipeline.name_or_path))
    for name, network in networks_of(pipeline).items():
        place = getattr(getattr(network, "config", None), "_name_or_path", None)
        if place and pipeline.name_or_path and Path(place) not in (own, own / name):
            found.append(f"{name}: {Path(place).name}")
        found += [f"{name}: LoRA {adapter}" for adapter in getattr(network, "peft_config", {})]
        if _free_u(network):
            found.append(f"{name}: FreeU")
    return found


def note_as_loaded(pipeline: Pipeline) -> None:
    """Remember the fingerprint of a pipeline that was just loaded, for `is_as_loaded`.

    Example:
        >>> from helpers import load_pipeline
        >>> note_as_loaded(load_pipeline("tiny-portraits", device="cpu"))
    """
    if network := _denoiser(pipeline):
        _as_loaded[network] = fingerprint(pipeline)


def is_as_loaded(pipeline: Pipeline) -> bool | None:
    """Whether a pipeline draws with the weights it was loaded with; None if nobody can tell.

    Example:
        >>> from helpers import load_pipeline, use_vae
        >>> pipeline = load_pipeline("tiny-portraits-early", device="cpu")
        >>> is_as_loaded(pipeline), is_as_loaded(use_vae(pipeline, "tiny-portraits-vae-ft"))
        (True, False)
    """
    before, now = _as_loaded.get(_denoiser(pipeline)), fingerprint(pipeline)
    return before == now if before and now else None


def _denoiser(pipeline: Pipeline) -> torch.nn.Module | None:
    networks = networks_of(pipeline)
    return networks.get("unet") or networks.get("transformer")


def _read(network: torch.nn.Module) -> bytes:
    """The names of a network's tensors, and some numbers of each."""
    tensors = dict(network.named_parameters())
    some = [one.detach().flatten()[:: max(1, one.numel() // SAMPLES)] for one in tensors.values()]
    parts = [one[:SAMPLES].to(torch.float16) for one in some]
    numbers = torch.cat(parts).cpu().numpy().tobytes() if parts else b""
    return " ".join(tensors).replace(".base_layer", "").encode() + numbers


def _free_u(network: torch.nn.Module) -> str:
    blocks: Any = getattr(network, "up_blocks", ())
    found = [{name: getattr(block, name, None) for name in FREE_U} for block in blocks]
    return json.dumps(found) if any(any(one.values()) for one in found) else ""
