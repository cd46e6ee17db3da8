"""Forecast the peak memory of a run that never happened, and the largest batch that fits."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers.forecast.shapes import empty_pipeline
from helpers.forecast.storages import FusedAttention, LiveStorages
from helpers.loading import DTYPES
from helpers.memory import bytes_of, modules_of, readable, tensors_of
from helpers.models import MODELS, MODELS_FOLDER

if TYPE_CHECKING:
    import pandas

    from helpers.pipelines import StableDiffusion

# GiB that PyTorch finds on each, as its own out-of-memory messages give them.
GPUS: dict[str, float] = {
    "T4, 16 GB": 14.56,
    "RTX 3060, 12 GB": 11.76,
    "RTX 4090, 24 GB": 23.61,
    "A100, 40 GB": 39.39,
    "A100, 80 GB": 79.15,
    "H100, 80 GB": 79.11,
}

# What CUDA itself and the libraries' workspaces take beside the tensors: an assumption, in bytes.
RESERVE = 0.75e9

COMPONENTS = {
    "text encoder": "text_encoder",
    "UNet step": "unet",
    "VAE decode": "vae",
    "safety check": "safety_checker",
}

ATTENTION = ("sdpa", "classic", "sliced")

OFFLOAD = (None, "model", "sequential", "group")


@dataclass(frozen=True)
class Forecast:
    """The peak memory of a run that never happened, by component, in bytes.

    Example:
        >>> forecast = Forecast("mine", {"UNet step": 2 * 10**9}, {"UNet step": 10**9})
        >>> print(forecast)
        mine: 3.00 GB at most, in the UNet step
    """

    label: str
    weights: dict[str, int]  # on the device when the component is at its peak
    activations: dict[str, int]  # the other tensors at that moment

    @property
    def peaks(self) -> dict[str, int]:
        """Weights and activations together, by component."""
        return {part: self.weights[part] + self.activations[part] for part in self.weights}

    @property
    def peak(self) -> int:
        """The peak of the whole run: its components run one after the other."""
        return max(self.peaks.values())

    def table(self) -> pandas.DataFrame:
        """Set the components side by side, in GB of 10**9 bytes."""
        import pandas

        columns = {"weights": self.weights, "activations": self.activations, "peak": self.peaks}
        return pandas.DataFrame(columns).div(1e9).add_suffix(" (GB)").rename_axis("component")

    def __str__(self) -> str:
        part = max(self.peaks, key=self.peaks.__getitem__)
        return f"{self.label}: {readable(self.peak)} at most, in the {part}"

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
    `LiveStorages` counts. What the kernels take for themselves is left out: on a CPU the forecast
    is within 5% of `peak_memory`; how near it comes on CUDA is still to be shown.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x.
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
        ValueError: the model is no Stable Diffusion 1.x that is described here, or an option is not
            one of those above.

    Example:
        >>> forecast = forecast_memory("sd15-shape", batch_size=4)
        >>> print(forecast)
        sd15-shape, batch of 4, 512 x 512, float16, ...: 3.75 GB at most, in the VAE decode
        >>> forecast.table()["activations (GB)"].round(2).to_dict()
        {'text encoder': 0.01, 'UNet step': 0.55, 'VAE decode': 1.61}
    """
    pipeline = _pipeline_to_forecast(model, dtype)
    default = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    height, width = (default if size is None else size for size in (height, width))
    _check_options(batch_size, height, width, attention, offload)
    if attention == "classic":
        pipeline.unet.set_default_attn_processor()
    elif attention == "sliced":
        pipeline.enable_attention_slicing()
    pipeline.vae.use_slicing, pipeline.vae.use_tiling = vae_slicing, vae_tiling

    modules = modules_of(pipeline)
    storages = LiveStorages(ignored=tensors_of(*modules.values()))
    steps = _one_step(pipeline, batch_size, height, width)
    weights, activations = {}, {}
    with torch.no_grad(), FusedAttention(), storages:
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
    return Forecast(label + f", {offload} offload" * bool(offload), weights, activations)


def what_fits(
    model: str | Path, *, gpus: Mapping[str, float] = GPUS, **options: Any
) -> pandas.DataFrame:
    """Forecast the largest batch that fits on each GPU.

    Three forecasts are joined by straight lines, because memory grows with the batch: in proportion
    once the images outweigh what is there for any batch. `RESERVE` is left for CUDA itself.

    Args:
        model: what `forecast_memory` takes.
        gpus: the GiB that PyTorch finds on each.
        options: those of `forecast_memory`, without `batch_size`.

    Returns:
        A row for each GPU: its memory in GB of 10**9 bytes, and the largest batch; 0 for none.

    Raises:
        ValueError: an option is wrong, or no GPU holds even one image.

    Example:
        >>> what_fits("sd15-shape", gpus={"mine": 6}, dtype="float32")["largest batch"].to_dict()
        {'mine': 1}
    """
    import pandas

    sizes = (1, 8, 32)
    peaks = [forecast_memory(model, batch_size=size, **options).peak for size in sizes]
    memory = {name: gib * 2**30 for name, gib in gpus.items()}
    most = max(memory.values()) - RESERVE
    if most < peaks[0]:
        raise ValueError(
            f"One image takes {readable(peaks[0])}, more than the {readable(most)} that there is "
            "to fill: allow more, or use a smaller height and width, VAE tiling or offload."
        )
    largest = [_extend(sizes, peaks, size - RESERVE) for size in memory.values()]
    gigabytes = [size / 1e9 for size in memory.values()]
    table = {"memory (GB)": gigabytes, "largest batch": largest}
    return pandas.DataFrame(table, index=pandas.Index(memory, name="GPU"))


def _extend(sizes: Sequence[int], peaks: Sequence[int], budget: float) -> int:
    """Read off the lines through the sizes' peaks how large a batch stays within the budget.

    Peaks grow ever faster, never slower, so between two sizes a line promises too little at most.
    """
    if budget < peaks[0]:
        return 0
    piece = 0 if budget < peaks[1] else 1
    slope = (peaks[piece + 1] - peaks[piece]) / (sizes[piece + 1] - sizes[piece])
    return sizes[piece] + int((budget - peaks[piece]) / slope)


def _pipeline_to_forecast(model: str | Path, dtype: str | torch.dtype) -> StableDiffusion:
    """Return the pipeline with all of its tensors on the meta device."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"{dtype!r} is not a dtype to forecast: use {', '.join(DTYPES)}.")
    known = MODELS.get(str(model))
    folder = MODELS_FOLDER / (known.shape or known.id) if known else Path(model)
    index = folder / "model_index.json"
    described = index.is_file() and json.loads(index.read_text(encoding="utf-8"))
    if not described or described["_class_name"] != "StableDiffusionPipeline":
        raise ValueError(
            f"There is no Stable Diffusion 1.x under {str(model)!r}: give a name of MODELS "
            f"({', '.join(MODELS)}) or a folder that holds one."
        )
    checked = known.safety_checker if known else (described.get("safety_checker") or [None])[0]
    pipeline = empty_pipeline(folder, DTYPES[name], safety_checker=bool(checked))
    for module in modules_of(pipeline).values():
        module.to("meta")
    return pipeline


def _check_options(
    batch_size: int, height: int, width: int, attention: str, offload: str | None
) -> None:
    if batch_size < 1:
        raise ValueError(f"A batch of {batch_size} draws nothing: use a batch_size of at least 1.")
    for name, size in (("height", height), ("width", width)):
        if size < 8 or size % 8:
            raise ValueError(f"A {name} of {size} cannot be drawn: use a multiple of 8, as 512 is.")
    for name, value, known in (("attention", attention, ATTENTION), ("offload", offload, OFFLOAD)):
        if value not in known:
            raise ValueError(
                f"{value!r} is no kind of {name}: use one of {', '.join(map(repr, known))}."
            )


def _one_step(
    pipeline: StableDiffusion, batch_size: int, height: int, width: int
) -> Iterator[None]:
    """Do with meta tensors what the pipeline does in one step, stopping after each component."""
    unet, vae = pipeline.unet, pipeline.vae
    words = pipeline.text_encoder.config.max_position_embeddings
    tokens = torch.empty(batch_size, words, dtype=torch.long, device="meta")
    prompt = pipeline.text_encoder(tokens)[0]
    negative = torch.empty_like(prompt)  # made in the same way
    embeddings = torch.cat([negative, prompt])
    yield
    scale = pipeline.vae_scale_factor
    shape = (batch_size, unet.config.in_channels, height // scale, width // scale)
    latents = torch.empty(shape, dtype=unet.dtype, device="meta")
    past = [torch.empty_like(latents) for _ in range(4)]  # what PNDM remembers
    twice = torch.cat([latents] * 2)  # for guidance: without the prompt and with it
    step = torch.empty((), device="meta")
    noise = unet(twice, step, encoder_hidden_states=embeddings, return_dict=False)[0]
    without, with_prompt = noise.chunk(2)
    guided = without + 7.5 * (with_prompt - without)
    yield
    images = _decode(vae, latents / vae.config.scaling_factor)
    if pipeline.safety_checker is not None:
        yield
        side = pipeline.safety_checker.config.vision_config.image_size
        small = torch.empty((batch_size, 3, side, side), dtype=unet.dtype, device="meta")
        pipeline.safety_checker.visual_projection(pipeline.safety_checker.vision_model(small)[1])
    images = pipeline.image_processor.postprocess(images, output_type="pt")
    del past, guided
    yield


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode as `vae.decode` does; of many slices, which are all alike, run the first and last."""
    if not vae.use_slicing or len(latents) < 3:
        return vae.decode(latents, return_dict=False)[0]
    first = _decode(vae, latents[:1])
    between = [torch.empty_like(first) for _ in latents[1:-1]]
    return torch.cat([first, *between, _decode(vae, latents[-1:])])


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
