"""Run the components of a pipeline on the meta device: tensors with a shape and no contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from helpers.loading import DTYPES, PIPELINES, empty_pipeline, quiet_libraries
from helpers.memory import modules_of
from helpers.models import MODELS, MODELS_FOLDER

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# The components of a run in their order, and the name of each one's network in the pipeline.
COMPONENTS = {
    "text encoder": "text_encoder",
    "text encoder 2": "text_encoder_2",
    "UNet step": "unet",
    "VAE decode": "vae",
    "safety check": "safety_checker",
}
ATTENTION = ("sdpa", "classic", "sliced")

Range = np.ndarray  # of a forecast: least, likely, most


def build_without_weights(
    model: str | Path, dtype: str | torch.dtype, attention: str
) -> DiffusionPipeline:
    """Build a model's pipeline with all of its tensors on the meta device.

    Raises:
        ValueError: the model, the dtype or the attention (one of `ATTENTION`) is not supported.
    """
    quiet_libraries()
    name = dtype_name(dtype)
    known = MODELS.get(str(model))
    folder = MODELS_FOLDER / (known.shape or known.id) if known else Path(str(model))
    index = folder / "model_index.json"
    config = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    if config.get("_class_name") not in PIPELINES:
        raise ValueError(
            f"There is no Stable Diffusion 1.x or XL under {str(model)!r}: give a name of MODELS "
            f"({', '.join(MODELS)}) or a folder with its configs."
        )
    if attention not in ATTENTION:
        raise ValueError(f"attention is {attention!r}: use one of {', '.join(ATTENTION)}.")
    listed = (config.get("safety_checker") or [None])[0] is not None
    has_checker = known.safety_checker if known else listed
    build = _build if known else _build.__wrapped__  # configs in a folder can change
    pipeline = build(folder, name, attention, has_checker)
    torch.nn.Module.to(pipeline.vae, DTYPES[name])  # SDXL's `decode` may have left it in float32
    return pipeline


@lru_cache(maxsize=16)
def _build(folder: Path, dtype: str, attention: str, has_checker: bool) -> DiffusionPipeline:
    pipeline = empty_pipeline(folder, DTYPES[dtype], safety_checker=has_checker)
    for module in modules_of(pipeline).values():
        module.to("meta")  # buffers too
    if attention == "classic":
        pipeline.unet.set_default_attn_processor()
    elif attention == "sliced":
        pipeline.enable_attention_slicing()
    return pipeline


def dtype_name(dtype: str | torch.dtype) -> str:
    """Return "float32", "bfloat16" or "float16"; raise ValueError for any other dtype."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"{dtype!r} cannot be forecast: use {', '.join(DTYPES)}.")
    return name


def cached_by_model(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what a function returns for a name of `MODELS`; configs in a folder can change."""
    cached = lru_cache(maxsize=256)(function)

    @wraps(function)
    def call(model: str | Path, **options: Any) -> Any:
        options = {**function.__kwdefaults__, **options}  # one order and no default left out
        return (cached if str(model) in MODELS else function)(str(model), **options)

    return call


def image_size(
    pipeline: DiffusionPipeline, height: int | None, width: int | None
) -> tuple[int, int]:
    """Return height and width in pixels, the model's default where None is given."""
    default = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    height, width = (default if size is None else size for size in (height, width))
    return check_count("height", height, 8), check_count("width", width, 8)


def check_count(name: str, value: object, multiple: int = 1) -> int:
    """Return a positive multiple as an int; raise ValueError if the value is anything else."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1 or value % multiple:
        wanted = f"a multiple of {multiple}" if multiple > 1 else "a whole number"
        raise ValueError(f"{name} is {value!r}: use {wanted}, at least {multiple}.")
    return int(value)


def component_calls(
    pipeline: DiffusionPipeline, batch_size: int, height: int, width: int
) -> dict[str, Callable[[], object]]:
    """Return a call for each component of the pipeline: what it does in a run, on meta tensors.

    A text encoder encodes one prompt per image. A UNet step denoises each image twice, for
    classifier-free guidance.
    """
    unet, vae, encoder = pipeline.unet, pipeline.vae, pipeline.text_encoder
    checker = getattr(pipeline, "safety_checker", None)
    second_encoder = getattr(pipeline, "text_encoder_2", None)

    def empty(*shape: int, dtype: torch.dtype = unet.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    words = encoder.config.max_position_embeddings
    tokens = empty(batch_size, words, dtype=torch.long)
    scale = pipeline.vae_scale_factor
    latents = empty(batch_size, unet.config.in_channels, height // scale, width // scale)
    embeddings = empty(2 * batch_size, words, unet.config.cross_attention_dim)
    conditions: dict[str, Any] = {}
    if second_encoder is not None:
        pooled = empty(2 * batch_size, second_encoder.config.projection_dim)
        sizes = empty(2 * batch_size, 6)  # of the image, and how it was cropped
        conditions["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes}

    def denoise() -> torch.Tensor:
        samples = torch.cat([latents] * 2)
        noise = unet(
            samples, empty(), encoder_hidden_states=embeddings, return_dict=False, **conditions
        )[0]
        unconditional, conditional = noise.chunk(2)
        return unconditional + 7.5 * (conditional - unconditional)

    def decode() -> Any:
        if conditions and vae.config.force_upcast and vae.dtype is torch.float16:
            torch.nn.Module.to(vae, torch.float32)  # as Diffusers does: SDXL's overflows float16
        images = _decode(vae, latents.to(vae.dtype) / vae.config.scaling_factor)
        return pipeline.image_processor.postprocess(images, output_type="pt")

    def check() -> torch.Tensor:
        side = checker.config.vision_config.image_size
        return checker.visual_projection(checker.vision_model(empty(batch_size, 3, side, side))[1])

    calls: dict[str, Callable[[], object]] = {
        "text encoder": lambda: encoder(tokens, output_hidden_states=bool(conditions)),
        "text encoder 2": lambda: second_encoder(tokens, output_hidden_states=True),
        "UNet step": denoise,
        "VAE decode": decode,
        "safety check": check,
    }
    present = modules_of(pipeline)
    return {name: call for name, call in calls.items() if COMPONENTS[name] in present}


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode as `vae.decode` does; of the equal slices of a batch, run the first and the last."""
    if not vae.use_slicing or len(latents) < 3:
        return vae.decode(latents, return_dict=False)[0]
    first = _decode(vae, latents[:1])
    between = [torch.empty_like(first) for _ in latents[1:-1]]
    return torch.cat([first, *between, _decode(vae, latents[-1:])])


class FusedAttention(TorchFunctionMode):
    """Replace `scaled_dot_product_attention` by an operation that allocates only its result.

    A GPU's fused kernel does so; on the meta device PyTorch would allocate all scores. `on_call`
    gets the query and the key of each attention.
    """

    def __init__(self, on_call: Callable[..., object] | None = None) -> None:
        super().__init__()
        self._on_call = on_call

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if func is torch.nn.functional.scaled_dot_product_attention:
            if self._on_call is not None:
                self._on_call(args[0], args[1])
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))
