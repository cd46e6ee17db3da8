"""Forecast the peak memory of a run without a GPU, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log2
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas
import torch

from helpers.memory import LiveStorages, bytes_of, format_bytes, modules_of, tensors_of
from labs.forecast.dry_run import (
    FusedAttention,
    Range,
    build_without_weights,
    cached_by_model,
    check_count,
    component_calls,
    dtype_name,
    image_size,
)
from labs.forecast.gpus import CARDS

# Bytes that CUDA itself and the kernels of its libraries take in a process.
CUDA_CONTEXT: Range = np.array([0.3e9, 0.5e9, 0.7e9])
# PyTorch's allocator keeps freed blocks for reuse. What it reserves over what is allocated, set by
# hand with the published peaks in view: for one image that is decoded at a time, and in addition
# for each doubling of their number.
RESERVED: Range = np.array([1.0, 1.1, 1.25])
RESERVED_PER_DOUBLING: Range = np.array([0.0, 0.06, 0.12])


@dataclass(frozen=True)
class Forecast:
    """The forecast peak memory of a run, in bytes."""

    label: str
    weights: int  # of all components
    activations: Mapping[str, int]  # the other tensors at the peak of each component
    allocated: int  # at the peak on an NVIDIA GPU, with the workspaces of convolutions
    images_at_once: int  # that the VAE decodes

    @property
    def peak(self) -> int:
        """The peak of the run; its components run one after the other."""
        return self.weights + max(self.activations.values())

    @property
    def reserved(self) -> Range:
        """The bytes that PyTorch reserves on a GPU; the least is what it allocates."""
        return self.allocated * (RESERVED + log2(self.images_at_once) * RESERVED_PER_DOUBLING)

    @property
    def process(self) -> Range:
        """The bytes that the process takes on a GPU: reserved, and CUDA's own."""
        return self.reserved + CUDA_CONTEXT

    def __str__(self) -> str:
        part = max(self.activations, key=self.activations.__getitem__)
        least, likely, most = self.process / 1e9
        return (
            f"{self.label}: at most {format_bytes(self.peak)} of tensors, in the {part}; "
            f"the process takes {likely:.1f} GB of a GPU, between {least:.1f} and {most:.1f}"
        )


@cached_by_model
def forecast_memory(
    model: str | Path,
    *,
    batch_size: int = 1,
    height: int | None = None,
    width: int | None = None,
    dtype: str | torch.dtype = "float16",
    attention: str = "sdpa",
    vae_slicing: bool = False,
) -> Forecast:
    """Forecast the peak memory of a run, without weights and without a GPU, in about a second.

    The pipeline's components run on meta tensors, which have a shape and take no memory, while
    `LiveStorages` counts their bytes. On a CPU, this is within 5% of `peak_memory`. A GPU takes
    more: for the workspaces of convolutions, for blocks that PyTorch keeps, and for CUDA itself.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        height, width: in pixels, by default the model's own.
        dtype: "float32", "bfloat16" or "float16".
        attention: of the UNet. "sdpa" is Diffusers' default; "classic" keeps all scores in memory,
            `pipeline.unet.set_default_attn_processor()`; "sliced" is
            `pipeline.enable_attention_slicing()`.
        vae_slicing: whether the VAE decodes images one by one, `pipeline.vae.enable_slicing()`.

    Raises:
        ValueError: the model is not supported, or an option is none of the above.
    """
    check_count("batch_size", batch_size)
    pipeline = build_without_weights(model, dtype, attention)
    height, width = image_size(pipeline, height, width)
    pipeline.vae.use_slicing = vae_slicing
    tensors = tensors_of(*modules_of(pipeline).values())
    weights, activations, allocated = bytes_of(tensors), {}, 0
    for component, call in component_calls(pipeline, batch_size, height, width).items():
        with torch.no_grad(), FusedAttention(), DeviceStorages(tensors, weights) as storages:
            call()
        activations[component] = storages.peak - weights
        allocated = max(allocated, storages.allocated)
    label = f"{model}, batch of {batch_size}, {width} x {height}, {dtype_name(dtype)}, "
    label += f"{attention} attention" + ", VAE slicing" * vae_slicing
    images_at_once = 1 if vae_slicing else batch_size
    return Forecast(label, weights, MappingProxyType(activations), allocated, images_at_once)


class DeviceStorages(LiveStorages):
    """Count live storages, and what a GPU allocates for them.

    For a convolution, an NVIDIA GPU also allocates a workspace: as much as its input, weights and
    output, to convert them to the layout that tensor cores read.
    """

    allocated = 0  # bytes at the peak

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        workspace = 0
        if func is torch.ops.aten.convolution.default:
            workspace = args[0].nbytes + args[1].nbytes + result.nbytes
        self.allocated = max(self.allocated, self.peak, self.live + workspace)
        return result


def what_fits(model: str | Path, **options: Any) -> pandas.DataFrame:
    """Forecast the largest batch, up to 512, that fits on each of `CARDS`.

    Six batch sizes are forecast, and the others lie on straight lines between them.

    Args:
        model, options: as for `forecast_memory`, which raises a ValueError if one is wrong. On
            cards without tensor cores, attention "sdpa" counts as "classic".

    Returns:
        A row for each GPU: its memory in GB of 10**9 bytes; the largest batch that fits by the most
        that is forecast; and the largest that fits at most, by the least. 0 for none.
    """
    sizes = (1, 4, 16, 64, 256, 512)
    asked, limits, rows = options.pop("attention", "sdpa"), {}, []
    for card in CARDS.values():
        attention, memory = card.attention_in_memory(asked), card.memory_gib * 2**30
        if attention not in limits:
            options["attention"] = attention
            ranges = [forecast_memory(model, batch_size=n, **options).process for n in sizes]
            limits[attention] = list(zip(*ranges, strict=True))
        least, _, most = limits[attention]
        batches = (int(np.interp(memory, limit, sizes, left=0)) for limit in (most, least))
        rows.append([memory / 1e9, *batches])
    columns = ["memory (GB)", "largest batch", "at most"]
    return pandas.DataFrame(rows, pandas.Index(CARDS, name="GPU"), columns)
