"""Forecast the peak memory of a run that never happened, and the largest batch that fits."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers.memory import bytes_of, format_bytes, modules_of, tensors_of
from labs.forecast.allocator import CachingAllocator
from labs.forecast.dry_run import (
    COMPONENTS,
    Range,
    build_without_weights,
    check_batch,
    one_step,
    set_attention,
    size_of,
)
from labs.forecast.fused import FusedAttention
from labs.forecast.gpus import CARDS
from labs.forecast.remembering import RememberedShapes
from labs.forecast.storages import LiveStorages

if TYPE_CHECKING:
    import pandas

# GiB that PyTorch finds on each, as its own out-of-memory messages give them.
GPUS: dict[str, float] = {
    label: CARDS[name].memory_gib
    for label, name in {
        "T4, 16 GB": "T4",
        "RTX 3060, 12 GB": "RTX 3060",
        "RTX 4090, 24 GB": "RTX 4090",
        "A100, 40 GB": "A100-SXM4-40GB",
        "A100, 80 GB": "A100-SXM4-80GB",
        "H100, 80 GB": "H100 80GB HBM3",
    }.items()
}

# What CUDA itself and its libraries' kernels take in a process, in bytes.
CONTEXT: Range = (0.3e9, 0.5e9, 0.7e9)
MARGIN = 1.1  # the reserved bytes, times this, are more than 98 of 100 published peaks

OFFLOAD = (None, "model", "sequential", "group")


@dataclass(frozen=True)
class Forecast:
    """The peak memory of a run that never happened, by component, in bytes.

    Example:
        >>> forecast = Forecast("mine", {"UNet step": 2 * 10**9}, {"UNet step": 10**9})
        >>> forecast.peak, forecast.peaks
        (3000000000, {'UNet step': 3000000000})
    """

    label: str
    weights: dict[str, int]  # on the device when the component is at its peak
    activations: dict[str, int]  # the other tensors at that moment
    allocated: int = 0  # at once on a GPU of NVIDIA, with the convolutions' workspaces
    reserved: int = 0  # with what PyTorch keeps there for reuse, where there is room

    @property
    def peaks(self) -> dict[str, int]:
        """Weights and activations together, by component."""
        return {part: self.weights[part] + self.activations[part] for part in self.weights}

    @property
    def peak(self) -> int:
        """The peak of all tensors in the run: its components run one after the other."""
        return max(self.peaks.values())

    @property
    def kept(self) -> Range:
        """The bytes that PyTorch takes from a GPU: what it needs, half of what it may keep, all."""
        return self.allocated, (self.allocated + self.reserved) / 2, MARGIN * self.reserved

    @property
    def process(self) -> Range:
        """The bytes of a GPU that the process takes, with those of CUDA itself."""
        least, middle, most = map(sum, zip(self.kept, CONTEXT, strict=True))
        return least, middle, most

    def table(self) -> pandas.DataFrame:
        """Set the components side by side, in GB of 10**9 bytes."""
        import pandas

        columns = {"weights": self.weights, "activations": self.activations, "peak": self.peaks}
        return pandas.DataFrame(columns).div(1e9).add_suffix(" (GB)").rename_axis("component")

    def __str__(self) -> str:
        part = max(self.peaks, key=self.peaks.__getitem__)
        line = f"{self.label}: {format_bytes(self.peak)} of tensors at most, in the {part}"
        least, middle, most = (size / 1e9 for size in self.process)
        return line + f"; a GPU's process takes {middle:.1f} GB, between {least:.1f} and {most:.1f}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>{self.table().round(3).to_html()}"


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
    offload: str | None = None,
) -> Forecast:
    """Forecast the peak memory of a run without weights, without a GPU, in a second or so.

    The pipeline's components run on meta tensors, which have a shape and take no memory, while
    `LiveStorages` counts: on a CPU the tensors are within 5% of `peak_memory`. A GPU takes more,
    for its convolutions' workspaces, for blocks that PyTorch's allocator keeps (`CachingAllocator`)
    and for CUDA itself: `process` is that, as a range. How far to trust it: `results/forecast.md`.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        batch_size: images at once; guidance makes the UNet see twice as many.
        height, width: in pixels, the model's own if not given.
        dtype: "float32", "bfloat16" or "float16".
        attention: of the UNet. "sdpa", the default of diffusers; "classic", with all scores in
            memory, `pipeline.unet.set_default_attn_processor()`; "sliced",
            `pipeline.enable_attention_slicing()`.
        vae_slicing: `pipeline.vae.enable_slicing()`: images are decoded one by one.
        vae_tiling: `pipeline.vae.enable_tiling()`: large images are decoded in tiles.
        offload: None; "model", `enable_model_cpu_offload`; "sequential",
            `enable_sequential_cpu_offload`; "group", `enable_group_offload` by blocks, one a group.

    Raises:
        ValueError: the model is no Stable Diffusion 1.x or XL that is described here, or an option
            is not one of those above.

    Example:
        >>> forecast = forecast_memory("sd15-shape", batch_size=4)
        >>> print(forecast)
        sd15-shape, batch of 4, 512 x 512, float16, ...: 3.75 GB of tensors at most, ...
        >>> forecast.table()["activations (GB)"].round(2).to_dict()
        {'text encoder': 0.01, 'UNet step': 0.55, 'VAE decode': 1.61}
    """
    pipeline = build_without_weights(model, dtype)
    height, width = size_of(pipeline, height, width)
    check_batch(batch_size)
    set_attention(pipeline, attention)
    if offload not in OFFLOAD:
        known = ", ".join(map(repr, OFFLOAD))
        raise ValueError(f"{offload!r} is no kind of offload: use one of {known}.")
    pipeline.vae.use_slicing, pipeline.vae.use_tiling = vae_slicing, vae_tiling

    modules = modules_of(pipeline)
    allocator = CachingAllocator()
    storages = LiveStorages(tensors_of(*modules.values()), allocator)
    steps = one_step(pipeline, batch_size, height, width)
    weights, activations = {}, {}
    with torch.no_grad(), FusedAttention(), RememberedShapes(), storages:
        for component, name in COMPONENTS.items():
            if name not in modules:
                continue
            resident = _place_weights(modules, name, offload, storages)
            storages.restart()
            next(steps)
            storages.hold(-resident)
            weights[component] = storages.weights_at_peak
            activations[component] = storages.peak - storages.weights_at_peak
    label = f"{model}, batch of {batch_size}, {width} x {height}, {dtype}, {attention} attention"
    label += ", VAE slicing" * vae_slicing + ", VAE tiling" * vae_tiling
    return Forecast(
        label + f", {offload} offload" * bool(offload),
        weights,
        activations,
        allocated=allocator.most_allocated,
        reserved=allocator.reserved,
    )


def what_fits(
    model: str | Path, *, gpus: Mapping[str, float] = GPUS, **options: Any
) -> pandas.DataFrame:
    """Forecast the largest batch that fits on each GPU, by the careful end of the forecast.

    A few forecasts are joined by straight lines, because memory grows with the batch.

    Args:
        model: what `forecast_memory` takes.
        gpus: the GiB that PyTorch finds on each.
        options: those of `forecast_memory`, without `batch_size`.

    Returns:
        A row for each GPU: its memory in GB of 10**9 bytes; the largest batch that fits even if
        PyTorch keeps all it may; and the largest that can fit at all, if PyTorch keeps nothing that
        it does not need. 0 for none.

    Raises:
        ValueError: an option is wrong, or no GPU surely holds even one image.

    Example:
        >>> what_fits("sd15-shape", gpus={"mine": 8}).iloc[0].to_dict()
        {'memory (GB)': 8.589934592, 'largest batch': 4.0, 'at most': 9.0}
    """
    import pandas

    sizes = (1, 4, 16, 64)
    takes = [forecast_memory(model, batch_size=size, **options).process for size in sizes]
    needed, _, careful = zip(*takes, strict=True)
    memory = {name: gib * 2**30 for name, gib in gpus.items()}
    if max(memory.values()) < careful[0]:
        raise ValueError(
            f"One image may take {format_bytes(careful[0])}, more than the "
            f"{format_bytes(max(memory.values()))} that there is: allow more, or use a smaller "
            "height and width, VAE tiling or offload."
        )
    table = {
        "memory (GB)": [size / 1e9 for size in memory.values()],
        "largest batch": [_extend(sizes, careful, size) for size in memory.values()],
        "at most": [_extend(sizes, needed, size) for size in memory.values()],
    }
    return pandas.DataFrame(table, index=pandas.Index(memory, name="GPU"))


def _extend(sizes: Sequence[int], takes: Sequence[float], budget: float) -> int:
    """Read off the lines through what the sizes take how large a batch stays within the budget."""
    if budget < takes[0]:
        return 0
    last = len(sizes) - 2
    piece = next((one for one in range(last) if budget < takes[one + 1]), last)
    slope = (takes[piece + 1] - takes[piece]) / (sizes[piece + 1] - sizes[piece])
    return sizes[piece] + int((budget - takes[piece]) / slope)


def _place_weights(
    modules: Mapping[str, torch.nn.Module], name: str, offload: str | None, storages: LiveStorages
) -> int:
    """Count the weights that are on the device while one of the modules runs.

    Returns:
        The bytes that are there all the time; what offload moves comes and goes by hooks.
    """
    groups = {"sequential": _layers, "group": _blocks}
    # diffusers never offloads the safety checker.
    kept = [modules[one] for one in ("safety_checker",) if one in modules and one != name]
    if offload in groups and name != "safety_checker":
        resident = bytes_of(tensors_of(*kept))
        storages.hold(resident)
        for part, size in groups[offload](modules[name]).items():
            part.register_forward_pre_hook(lambda *_, size=size: storages.hold(size))
            part.register_forward_hook(lambda *_, size=size: storages.hold(-size))
        return resident
    there = modules.values() if offload is None else [modules[name], *kept]
    resident = bytes_of(tensors_of(*there))
    storages.hold(resident)
    return resident


def _layers(module: torch.nn.Module) -> dict[torch.nn.Module, int]:
    """The weights that each layer holds itself, in bytes, as sequential offload moves them."""
    return {part: bytes_of(part.parameters(recurse=False)) for part in module.modules()}


def _blocks(module: torch.nn.Module) -> dict[torch.nn.Module, int]:
    """The weights of each block and, under the module, of all else, as group offload moves them."""
    inside = getattr(module, "_group_offload_block_modules", None) or ()
    groups: dict[torch.nn.Module, int] = {}
    for name, child in module.named_children():
        if name in inside:
            groups |= _blocks(child)
        elif isinstance(child, torch.nn.ModuleList | torch.nn.Sequential):
            groups |= {block: bytes_of(tensors_of(block)) for block in child}
    return groups | {module: bytes_of(tensors_of(module)) - sum(groups.values())}
