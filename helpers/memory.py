"""Memory: what a call takes at most, the largest batch that fits, and a forecast of both."""

from __future__ import annotations

import gc
import html
import json
import re
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from helpers.loading import DTYPES, MODELS, MODELS_FOLDER, empty_pipeline, pick_device

if TYPE_CHECKING:
    import pandas
    from diffusers import DiffusionPipeline

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

COMPONENTS = {"text encoder": "text_encoder", "UNet step": "unet", "VAE decode": "vae"}
ATTENTION = ("sdpa", "classic", "sliced")
OFFLOAD = (None, "model", "sequential", "group")
# The CPU's allocator in two wordings, CUDA and MPS, cuBLAS, the C++ library, oneDNN.
OUT_OF_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|ALLOC_FAILED|bad_alloc"
    "|could not create a (memory object|primitive)$"
)


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a call held at once, weights included.

    Example:
        >>> print(PeakMemory(34_500_000, "counting live tensors"))
        34.5 MB at most, by counting live tensors
    """

    bytes: int
    how: str  # the way it was measured
    result: Any = field(default=None, repr=False, compare=False)  # what the call returned

    def __str__(self) -> str:
        return f"{readable(self.bytes)} at most, by {self.how}"


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
    def total(self) -> int:
        """The peak of the whole run: its components run one after the other."""
        return max(self.peaks.values())

    def table(self) -> pandas.DataFrame:
        """Set the components side by side, in GB of 10**9 bytes."""
        import pandas

        columns = {"weights": self.weights, "activations": self.activations, "peak": self.peaks}
        return pandas.DataFrame(columns).div(1e9).add_suffix(" (GB)").rename_axis("component")

    def __str__(self) -> str:
        part = max(self.peaks, key=self.peaks.get)
        return f"{self.label}: {readable(self.total)} at most, in the {part}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>{self.table().round(3).to_html()}"


class LiveStorages(TorchDispatchMode):
    """Count the bytes of the tensor storages that are alive while the mode is on.

    A storage counts once, however many views it has and however often it is written to, from the
    operation that makes it until it is freed. One that is only read was there before: it counts
    from the start. What an operation takes for itself and gives back is not seen.

    Example:
        >>> with LiveStorages() as storages:
        ...     a = torch.zeros(1000)
        ...     del a
        ...     b = torch.zeros(500).view(5, 100).add_(1)
        >>> storages.live, storages.peak
        (2000, 4000)
    """

    def __init__(self, ignored: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.weights = self.weights_at_peak = 0  # the part of these that `hold` was told of
        self._seen: dict[int, weakref.ref] = {}
        for tensor in ignored:
            self._watch(tensor.untyped_storage(), 0)

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        before = sum(self._unseen((args, kwargs)))
        self.live += before
        self.peak += before  # it was there all the time
        result = func(*args, **(kwargs or {}))
        self._add(sum(self._unseen(result)))
        return result

    def hold(self, size: int) -> None:
        """Count bytes of weights that the mode does not see, or stop counting them (size < 0)."""
        self.weights += size
        self._add(size)

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak, self.weights_at_peak = self.live, self.weights

    def _unseen(self, tree: object) -> Iterator[int]:
        for tensor in tree_iter(tree):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._seen:
                    self._watch(storage, storage.nbytes())
                    yield storage.nbytes()

    def _watch(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata  # unlike data_ptr(), not 0 on the meta device
        self._seen[key] = weakref.ref(storage, lambda _: self._freed(key, size))

    def _freed(self, key: int, size: int) -> None:
        del self._seen[key]
        self.live -= size

    def _add(self, size: int) -> None:
        self.live += size
        if self.live > self.peak:
            self.restart()


class FusedAttention(TorchFunctionMode):
    """Stand in for the fused attention kernel, which keeps nothing but its result.

    On the meta device PyTorch would take the unfused way, with all the scores in memory.

    Example:
        >>> query = torch.empty(1, 8, 4096, 40, device="meta")
        >>> with LiveStorages(ignored=[query]) as storages, FusedAttention():
        ...     out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
        >>> out.shape, storages.peak == query.nbytes
        (torch.Size([1, 8, 4096, 40]), True)
    """

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def peak_memory(fn: Callable[[], Any], pipeline: DiffusionPipeline | None = None) -> PeakMemory:
    """Make a call and return the most memory that it held at once.

    On CUDA this is what the allocator reports, with all that lives on the GPU. On MPS, which keeps
    no record of the peak, it is what Metal's driver holds after the call, freed blocks that are
    kept for reuse included. On a CPU the storages of living tensors are counted: the figure is the
    same to the byte from run to run, but leaves out what a kernel takes and gives back.

    Args:
        fn: called without arguments, such as `lambda: pipeline(**get_inputs(4))`.
        pipeline: the one that is called. Its device is asked; on a CPU, all of its weights count,
            without it only those that the call touches.

    Returns:
        The bytes, how they were measured, and what the call returned.

    Source: PyTorch, `torch.cuda.max_memory_allocated`, `TorchDispatchMode`.

    Example:
        >>> peak = peak_memory(lambda: torch.ones(1000).mul(2).sum().item())
        >>> peak.result
        2000.0
    """
    device = pick_device() if pipeline is None else pipeline._execution_device
    free_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        result = fn()
        torch.cuda.synchronize(device)
        return PeakMemory(torch.cuda.max_memory_allocated(device), "CUDA's allocator", result)
    if device.type == "mps":
        result = fn()
        torch.mps.synchronize()
        return PeakMemory(torch.mps.driver_allocated_memory(), "Metal's driver", result)
    weights = [] if pipeline is None else _tensors(*_modules(pipeline).values())
    with LiveStorages(ignored=weights) as storages:
        storages.hold(_size(weights))
        result = fn()
    return PeakMemory(storages.peak, "counting live tensors", result)


def largest_batch(
    pipeline: DiffusionPipeline,
    inputs: Callable[[int], Mapping[str, Any]],
    *,
    limit: int | None = None,
) -> int:
    """Find the largest batch that fits into memory: double until it fails, then bisect.

    Running out of memory leaves nothing behind: what the failed call held is freed.

    Args:
        pipeline: called with each batch, and left as it was.
        inputs: makes the arguments for a batch size, as `get_inputs` does. Few steps are enough:
            their number changes nothing about memory.
        limit: no larger batch is tried. A CPU needs one, because there the system rather ends the
            whole process than refuse it memory.

    Raises:
        ValueError: the limit is below 1, or missing on a CPU.
        MemoryError: not even one image fits.

    Example:
        >>> from helpers import get_inputs, load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> largest_batch(pipeline, lambda n: get_inputs(n, num_inference_steps=1), limit=2)
        2
    """
    if limit is None and pipeline._execution_device.type == "cpu":
        raise ValueError(
            "On a CPU, running out of memory can end the whole process: give a limit, such as 64."
        )
    if limit is not None and limit < 1:
        raise ValueError(f"A limit of {limit} leaves nothing to try: use a limit of at least 1.")
    largest = _double_then_bisect(partial(_fits, pipeline, inputs), limit)
    if largest == 0:
        raise MemoryError(
            "Not even one image fits: use a smaller height and width, half precision, "
            "pipeline.vae.enable_tiling() or pipeline.enable_model_cpu_offload()."
        )
    return largest


def free_memory() -> None:
    """Give back memory that nothing needs any more, above all after running out of it.

    An error keeps the frames it went through, frames keep their tensors, and Jupyter keeps the last
    error: without this, one cell that runs out of memory makes all later ones fail too.

    Source: PyTorch issue 27600, diffusers issue 5270.

    Example:
        >>> free_memory()
    """
    for name in ("last_exc", "last_value"):
        error = getattr(sys, name, None)
        if isinstance(error, BaseException) and is_out_of_memory(error):
            _clear_frames(error)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, whatever the device.

    Example:
        >>> is_out_of_memory(RuntimeError("MPS backend out of memory"))
        True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


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
        ValueError: the model is no Stable Diffusion 1.x that is described here, or a setting is not
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
    _check_settings(batch_size, height, width, attention, offload)
    if attention == "classic":
        pipeline.unet.set_default_attn_processor()
    elif attention == "sliced":
        pipeline.enable_attention_slicing()
    pipeline.vae.use_slicing, pipeline.vae.use_tiling = vae_slicing, vae_tiling

    modules = _modules(pipeline)
    storages = LiveStorages(ignored=_tensors(*modules.values()))
    steps = _one_step(pipeline, batch_size, height, width)
    weights, activations = {}, {}
    with torch.no_grad(), FusedAttention(), storages:
        for component, name in COMPONENTS.items():
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
    model: str | Path, *, gpus: Mapping[str, float] = GPUS, **settings: object
) -> pandas.DataFrame:
    """Forecast the largest batch that fits on each GPU.

    Three forecasts are joined by straight lines, because memory grows with the batch: in proportion
    once the images outweigh what is there for any batch. `RESERVE` is left for CUDA itself.

    Args:
        model: what `forecast_memory` takes.
        gpus: the GiB that PyTorch finds on each.
        settings: those of `forecast_memory`, without `batch_size`.

    Returns:
        A row for each GPU: its memory in GB of 10**9 bytes, and the largest batch; 0 for none.

    Raises:
        ValueError: a setting is wrong, or no GPU holds even one image.

    Example:
        >>> what_fits("sd15-shape", gpus={"mine": 6}, dtype="float32")["largest batch"].to_dict()
        {'mine': 1}
    """
    import pandas

    sizes = (1, 8, 32)
    peaks = [forecast_memory(model, batch_size=size, **settings).total for size in sizes]
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


def readable(size: float) -> str:
    """Write a number of bytes as people read it.

    Example:
        >>> readable(34_500_000), readable(1_230_000_000)
        ('34.5 MB', '1.23 GB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _fits(
    pipeline: DiffusionPipeline, inputs: Callable[[int], Mapping[str, Any]], batch_size: int
) -> bool:
    """Try a batch; if memory runs out, put all back as it was."""
    free_memory()
    fits = True
    try:
        pipeline(**inputs(batch_size))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        fits = False
        _clear_frames(error)
    if not fits:
        pipeline.maybe_free_model_hooks()  # an offloaded model may have stayed on the GPU
    free_memory()
    return fits


def _clear_frames(error: BaseException | None) -> None:
    """Drop the local variables of all functions that an error and its causes went through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            _ = frame.f_locals  # brings up to date the copy that is made when a traceback is shown
        error = error.__cause__ or error.__context__


def _double_then_bisect(fits: Callable[[int], bool], limit: int | None) -> int:
    """Return the largest size that fits, none above the limit, 0 if not even 1 does."""
    good, size = 0, 1
    while fits(size):
        good = size
        if size == limit:
            return size
        size = 2 * size if limit is None else min(2 * size, limit)
    bad = size
    while bad - good > 1:
        size = (good + bad) // 2
        good, bad = (size, bad) if fits(size) else (good, size)
    return good


def _extend(sizes: Sequence[int], peaks: Sequence[int], budget: float) -> int:
    """Read off the lines through the sizes' peaks how large a batch stays within the budget.

    Peaks grow ever faster, never slower, so between two sizes a line promises too little at most.
    """
    if budget < peaks[0]:
        return 0
    piece = 0 if budget < peaks[1] else 1
    slope = (peaks[piece + 1] - peaks[piece]) / (sizes[piece + 1] - sizes[piece])
    return sizes[piece] + int((budget - peaks[piece]) / slope)


def _pipeline_to_forecast(model: str | Path, dtype: str | torch.dtype) -> DiffusionPipeline:
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
    pipeline = empty_pipeline(folder, DTYPES[name])
    for module in _modules(pipeline).values():
        module.to("meta")
    return pipeline


def _check_settings(
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
    pipeline: DiffusionPipeline, batch_size: int, height: int, width: int
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
    images = pipeline.image_processor.postprocess(images, output_type="pt")
    del past, guided
    yield


def _decode(vae: torch.nn.Module, latents: torch.Tensor) -> torch.Tensor:
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
    if offload in groups:
        for part, size in groups[offload](modules[name]).items():
            part.register_forward_pre_hook(lambda *_, size=size: storages.hold(size))
            part.register_forward_hook(lambda *_, size=size: storages.hold(-size))
        return 0
    there = modules.values() if offload is None else [modules[name]]
    resident = _size(_tensors(*there))
    storages.hold(resident)
    return resident


def _layers(module: torch.nn.Module) -> dict[torch.nn.Module, int]:
    """The weights that each layer holds itself, in bytes, as sequential offload moves them."""
    return {part: _size(part.parameters(recurse=False)) for part in module.modules()}


def _blocks(module: torch.nn.Module) -> dict[torch.nn.Module, int]:
    """The weights of each block and, under the module, of all else, as group offload moves them."""
    inside = getattr(module, "_group_offload_block_modules", None) or ()
    groups: dict[torch.nn.Module, int] = {}
    for name, child in module.named_children():
        if name in inside:
            groups |= _blocks(child)
        elif isinstance(child, torch.nn.ModuleList | torch.nn.Sequential):
            groups |= {block: _size(_tensors(block)) for block in child}
    return groups | {module: _size(_tensors(module)) - sum(groups.values())}


def _modules(pipeline: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}


def _tensors(*modules: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def _size(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
