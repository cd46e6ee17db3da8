"""Do with tensors that have a shape and no contents what a pipeline does in one step."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers.loading import DTYPES, PIPELINES, empty_pipeline, quiet_libraries
from helpers.memory import modules_of
from helpers.models import MODELS, MODELS_FOLDER

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# The parts of a run, one after the other, and the network that is at work in each.
COMPONENTS = {
    "text encoder": "text_encoder",
    "text encoder 2": "text_encoder_2",
    "UNet step": "unet",
    "VAE decode": "vae",
    "safety check": "safety_checker",
}

ATTENTION = ("sdpa", "classic", "sliced")

Range = tuple[float, float, float]  # of a forecast: the least, the likeliest, the most


def build_without_weights(model: str | Path, dtype: str | torch.dtype) -> DiffusionPipeline:
    """Build a model's pipeline with all of its tensors on the meta device.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        ValueError: the model is none of these, or the dtype is another.

    Example:
        >>> build_without_weights("sdxl-shape", "float16").unet.device
        device(type='meta')
    """
    quiet_libraries()
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"{dtype!r} is not a dtype to forecast: use {', '.join(DTYPES)}.")
    known = MODELS.get(str(model))
    folder = MODELS_FOLDER / (known.shape or known.id) if known else Path(model)
    index = folder / "model_index.json"
    described = index.is_file() and json.loads(index.read_text(encoding="utf-8"))
    if not described or described["_class_name"] not in PIPELINES:
        raise ValueError(
            f"There is no Stable Diffusion 1.x or XL under {str(model)!r}: give a name of MODELS "
            f"({', '.join(MODELS)}) or a folder that holds one."
        )
    checked = known.safety_checker if known else (described.get("safety_checker") or [None])[0]
    pipeline = empty_pipeline(folder, DTYPES[name], safety_checker=bool(checked))
    for module in modules_of(pipeline).values():
        module.to("meta")
    return pipeline


def size_of(pipeline: DiffusionPipeline, height: int | None, width: int | None) -> tuple[int, int]:
    """The height and width to draw in, in pixels: the model's own where none is given.

    Raises:
        ValueError: a size is no multiple of 8, or below 8.
    """
    own = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    sizes = {"height": own if height is None else height, "width": own if width is None else width}
    for name, size in sizes.items():
        if size < 8 or size % 8:
            raise ValueError(f"A {name} of {size} cannot be drawn: use a multiple of 8, as 512 is.")
    return sizes["height"], sizes["width"]


def check_batch(batch_size: int) -> None:
    """Refuse a batch without an image."""
    if batch_size < 1:
        raise ValueError(f"A batch of {batch_size} draws nothing: use a batch_size of at least 1.")


def set_attention(pipeline: DiffusionPipeline, attention: str) -> None:
    """Make the pipeline's own call for a kind of attention.

    Raises:
        ValueError: it is none of `ATTENTION`.
    """
    if attention not in ATTENTION:
        raise ValueError(
            f"{attention!r} is no kind of attention: use one of {', '.join(map(repr, ATTENTION))}."
        )
    if attention == "classic":
        pipeline.unet.set_default_attn_processor()
    elif attention == "sliced":
        pipeline.enable_attention_slicing()


def one_step(
    pipeline: DiffusionPipeline, batch_size: int, height: int, width: int
) -> Iterator[None]:
    """Do with meta tensors what the pipeline does in one step, stopping after each component."""
    unet, vae = pipeline.unet, pipeline.vae
    conditions: dict[str, Any] = {}
    embeddings = yield from _encode(pipeline, batch_size, conditions)
    scale = pipeline.vae_scale_factor
    shape = (batch_size, unet.config.in_channels, height // scale, width // scale)
    latents = torch.empty(shape, dtype=unet.dtype, device="meta")
    past = [torch.empty_like(latents) for _ in range(4)]  # what PNDM remembers
    twice = torch.cat([latents] * 2)  # for guidance: without the prompt and with it
    step = torch.empty((), device="meta")
    noise = unet(twice, step, encoder_hidden_states=embeddings, return_dict=False, **conditions)[0]
    without, with_prompt = noise.chunk(2)
    guided = without + 7.5 * (with_prompt - without)
    yield
    if conditions and vae.config.force_upcast and vae.dtype is torch.float16:
        # As diffusers does: Stable Diffusion XL's overflows float16.
        torch.nn.Module.to(vae, torch.float32)
    images = _decode(vae, latents.to(vae.dtype) / vae.config.scaling_factor)
    if getattr(pipeline, "safety_checker", None) is not None:
        yield
        side = pipeline.safety_checker.config.vision_config.image_size
        small = torch.empty((batch_size, 3, side, side), dtype=unet.dtype, device="meta")
        pipeline.safety_checker.visual_projection(pipeline.safety_checker.vision_model(small)[1])
    images = pipeline.image_processor.postprocess(images, output_type="pt")
    del past, guided
    yield


def _encode(
    pipeline: Any, batch_size: int, conditions: dict[str, Any]
) -> Generator[None, None, Any]:
    """Encode the prompts, stopping after each text encoder; return what the UNet is given."""
    words = pipeline.text_encoder.config.max_position_embeddings
    tokens = torch.empty(batch_size, words, dtype=torch.long, device="meta")
    if getattr(pipeline, "text_encoder_2", None) is None:
        prompt = pipeline.text_encoder(tokens)[0]
    else:
        first = pipeline.text_encoder(tokens, output_hidden_states=True).hidden_states[-2]
        yield
        second = pipeline.text_encoder_2(tokens, output_hidden_states=True)
        prompt = torch.cat([first, second.hidden_states[-2]], dim=-1)
        sizes = prompt.new_empty(2 * batch_size, 6)  # of the picture, and what was cut off it
        added = {"text_embeds": torch.cat([second.text_embeds] * 2), "time_ids": sizes}
        conditions["added_cond_kwargs"] = added
    negative = torch.empty_like(prompt)  # made in the same way
    embeddings = torch.cat([negative, prompt])
    yield
    return embeddings


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode as `vae.decode` does; of many slices, which are all alike, run the first and last."""
    if not vae.use_slicing or len(latents) < 3:
        return vae.decode(latents, return_dict=False)[0]
    first = _decode(vae, latents[:1])
    between = [torch.empty_like(first) for _ in latents[1:-1]]
    return torch.cat([first, *between, _decode(vae, latents[-1:])])
