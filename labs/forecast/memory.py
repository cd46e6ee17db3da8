"""Forecast the peak memory of a run without a GPU, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch

from helpers.memory import LiveStorages, bytes_of, format_bytes, modules_of, tensors_of
from helpers.models import MODELS
from labs.forecast.dry_run import (
    FusedAttention,
    Range,
    build_without_weights,
    check_count,
    check_size,
    component_calls,
    dtype_name,
    image_size,
)
from labs.forecast.gpus import CARDS

# Bytes that CUDA itself and the kernels of its libraries take in a process.
CUDA_CONTEXT: Range = (0.3e9, 0.5e9, 0.7e9)
# PyTorch's allocator keeps freed blocks for reuse. What it reserves over what is allocated, set by
# hand with the published peaks in view: for one image that is decoded at a time, and in addition
# for each doubling of their number.
RESERVED: Range = (1.0, 1.1, 1.25)
RESERVED_PER_DOUBLING: Range = (0.0, 0.06, 0.12)


@dataclass(frozen=True)
class Forecast:
    """The forecast peak memory of a run, in bytes."""

    label: str
    weights: int  # of all components
    activations: dict[str, int]  # the other tensors at the peak of each component
    allocated: int = 0  # at the peak on an NVIDIA GPU, with the workspaces of convolutions
    images_at_once: int = 1  # that the VAE decodes

    @property
    def peak(self) -> int:
        """The peak of the run; its components run one after the other."""
        return self.weights + max(self.activations.values())

    @property
    def reserved(self) -> Range:
        """The bytes that PyTorch reserves on a GPU; the least is what it allocates."""
        doublings = log2(self.images_at_once)
        return tuple(
            self.allocated * (factor + doublings * growth)
            for factor, growth in zip(RESERVED, RESERVED_PER_DOUBLING, strict=True)
        )

    @property
    def process(self) -> Range:
        """The bytes that the process takes on a GPU: reserved, and CUDA's own."""
        return tuple(map(sum, zip(self.reserved, CUDA_CONTEXT, strict=True)))

    def __str__(self) -> str:
        part = max(self.activations, key=self.activations.__getitem__)
        least, likely, most = (size / 1e9 for size in self.process)
        return (
            f"{self.label}: at most {format_bytes(self.peak)} of tensors, in the {part}; "
            f"the process takes {likely:.1f} GB of a GPU, between {least:.1f} and {most:.1f}"
        )


def forecast_memory(
    model: str | Path,
    *,
    batch_size: int = 1,
    height: int | None = None,
    width: int | None = None,
    dtype: str | torch.dtype = "float16",
    attention: str = "sdpa",
    vae_slicing: bool = False,
    vae_tiling: bool = False,
) -> Forecast:
    """Forecast the peak memory of a run, without weights and without a GPU, in about a second.

    The pipeline's components run on meta tensors, which have a shape and take no memory, while
    `LiveStorages` counts their bytes. On a CPU, this is within 5% of `peak_memory`. A GPU takes
    more: for the workspaces of convolutions, for blocks that PyTorch keeps, and for CUDA itself.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        batch_size: images at once.
        height, width: in pixels, by default the model's own.
        dtype: "float32", "bfloat16" or "float16".
        attention: of the UNet. "sdpa" is Diffusers' default; "classic" keeps all scores in memory,
            `pipeline.unet.set_default_attn_processor()`; "sliced" is
            `pipeline.enable_attention_slicing()`.
        vae_slicing, vae_tiling: as `pipeline.vae.enable_slicing()` and `enable_tiling()` do.

    Raises:
        ValueError: the model is not supported, or an option is none of the above.
    """
    check_count("batch_size", batch_size)
    check_size(height, width)
    # The configs in a folder can change, those of MODELS cannot.
    run = _forecast if str(model) in MODELS else _forecast.__wrapped__
    forecast = run(
        str(model), batch_size, height, width, dtype_name(dtype), str(attention),
        bool(vae_slicing), bool(vae_tiling),
    )  # fmt: skip
    return replace(forecast, activations=dict(forecast.activations))


@lru_cache(maxsize=256)
def _forecast(
    model: str,
    batch_size: int,
    height: int | None,
    width: int | None,
    dtype: str,
    attention: str,
    vae_slicing: bool,
    vae_tiling: bool,
) -> Forecast:
    pipeline = build_without_weights(model, dtype, attention)
    height, width = image_size(pipeline, height, width)
    pipeline.vae.use_slicing, pipeline.vae.use_tiling = vae_slicing, vae_tiling
    tensors = tensors_of(*modules_of(pipeline).values())
    weights, activations, allocated = bytes_of(tensors), {}, 0
    for component, call in component_calls(pipeline, batch_size, height, width).items():
        with torch.no_grad(), FusedAttention(), DeviceStorages(tensors, weights) as storages:
            call()
        activations[component] = storages.peak - weights
        allocated = max(allocated, storages.allocated)
    label = f"{model}, batch of {batch_size}, {width} x {height}, {dtype}, {attention} attention"
    label += ", VAE slicing" * vae_slicing + ", VAE tiling" * vae_tiling
    return Forecast(label, weights, activations, allocated, 1 if vae_slicing else batch_size)


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


def what_fits(
    model: str | Path, *, gpus: Mapping[str, float] | None = None, **options: Any
) -> pandas.DataFrame:
    """Forecast the largest batch that fits on each GPU.

    Four batch sizes are forecast, and the others lie on straight lines between them.

    Args:
        model, options: as for `forecast_memory`.
        gpus: GiB of memory that PyTorch reports for each; by default of all `CARDS`.

    Returns:
        A row for each GPU: its memory in GB of 10**9 bytes; the largest batch that fits by the most
        that is forecast; and the largest that fits at most, by the least. 0 for none.

    Raises:
        ValueError: an option is wrong, or no GPU surely holds even one image.
    """
    gpus = {name: card.memory_gib for name, card in CARDS.items()} if gpus is None else gpus
    memory = {name: gib * 2**30 for name, gib in check_figures("gpus", gpus).items()}
    sizes = (1, 4, 16, 64)
    ranges = [forecast_memory(model, batch_size=size, **options).process for size in sizes]
    least, _, most = zip(*ranges, strict=True)
    if max(memory.values()) < most[0]:
        raise ValueError(
            f"One image may take {format_bytes(most[0])}, and the largest GPU has "
            f"{format_bytes(max(memory.values()))}: use a smaller height and width, or VAE tiling."
        )
    table = {
        "memory (GB)": [size / 1e9 for size in memory.values()],
        "largest batch": [_largest_batch(sizes, most, size) for size in memory.values()],
        "at most": [_largest_batch(sizes, least, size) for size in memory.values()],
    }
    return pandas.DataFrame(table, index=pandas.Index(memory, name="GPU"))


def check_figures(name: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Return figures by card as a dict; raise ValueError if one is no number of at least 0."""
    if not isinstance(figures, Mapping) or not figures:
        raise ValueError(f"{name} is {figures!r:.60}: use a dict, such as {{'T4': 14.6}}.")
    for card, figure in figures.items():
        is_number = isinstance(figure, int | float | np.number) and not isinstance(figure, bool)
        if not is_number or not 0 <= figure < float("inf"):
            raise ValueError(f"{name} has {figure!r} for {card}: use a number of at least 0.")
    return dict(figures)


def _largest_batch(sizes: Sequence[int], takes: Sequence[float], budget: float) -> int:
    """Return the batch that takes the budget, on the lines through what the sizes take."""
    if budget < takes[0]:
        return 0
    line = min(int(np.searchsorted(takes, budget, side="right")), len(sizes) - 1) - 1
    slope = (takes[line + 1] - takes[line]) / (sizes[line + 1] - sizes[line])
    return sizes[line] + int((budget - takes[line]) / slope)
