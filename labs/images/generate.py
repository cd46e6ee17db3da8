"""Generate images from their settings: watched step by step, and stopped at any step."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps

from helpers import make_generators, truncated_words, use_scheduler
from labs.images.settings import Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# What all images of one call have in common; prompts and seeds differ.
SHARED = ("scheduler", "num_inference_steps", "guidance_scale", "height", "width")
OnStep = Callable[[int, int, Callable[[], torch.Tensor | None]], bool]


class Stopped(Exception):
    """Generation was stopped before its last step, so there is no image."""


def generate(
    pipeline: DiffusionPipeline,
    settings: Sequence[Settings],
    on_step: OnStep | None = None,
    start: Image.Image | None = None,
    strength: float = 1.0,
) -> list[Image.Image]:
    """Generate an image for each of several settings in one call of the pipeline.

    A copy of the pipeline, which shares its weights, generates with a scheduler of its own. So the
    pipeline keeps its scheduler, and other threads can use it in the meantime.

    Args:
        settings: they may differ in prompts and seeds only; all have a negative prompt or none has.
            The model, weights and LoRA that they name are a record and are not loaded.
        on_step: called after each step with the number of steps done, the number of all steps, and
            a function that returns the latents of the clean image as predicted at this step
            (1 x C x H x W), or None for several images or where the pipeline does not show them.
            It returns whether to go on.
        start: an image to start from; None for noise.
        strength: the share of the steps that are taken from it, above 0.

    Raises:
        Stopped: `on_step` returned False.
        ValueError: the scheduler does not fit, the pipeline starts from an image, the strength
            leaves no step, or DeepCache is enabled on it.

    Source: diffusers, "Pipeline callbacks".
    """
    check_pipeline(pipeline)
    first = settings[0]
    copied = use_scheduler(copy.copy(pipeline), first.scheduler)
    if start is not None:
        from diffusers import AutoPipelineForImage2Image

        copied = AutoPipelineForImage2Image.from_pipe(copied)
    arguments = call_arguments(copied)
    copied.set_progress_bar_config(disable=True)
    inputs: dict[str, Any] = {
        "prompt": [each.prompt for each in settings],
        "num_inference_steps": first.num_inference_steps,
        "guidance_scale": first.guidance_scale,
        "generator": make_generators(each.seed for each in settings),
    }
    if any(each.negative_prompt for each in settings):
        inputs["negative_prompt"] = [each.negative_prompt for each in settings]
    if first.height or first.width:
        inputs["height"] = first.height or default_size(pipeline)
        inputs["width"] = first.width or default_size(pipeline)
    left_out, steps = 0, first.num_inference_steps
    if start is not None:
        side = default_size(pipeline) or min(start.size)
        size = (inputs.pop("width", side), inputs.pop("height", side))
        images = [ImageOps.fit(to_rgb(start), size)] * len(settings)
        inputs |= {"image": images, "strength": strength}
        left_out = _steps_left_out(copied, steps, strength)
        if left_out >= steps:
            raise ValueError(
                f"A strength of {strength} leaves no step of {steps}: raise one of them."
            )
    if on_step:
        _after_each_step(copied.scheduler, on_step, left_out * copied.scheduler.order)
    try:
        return copied(**{key: val for key, val in inputs.items() if key in arguments}).images
    finally:
        copied.maybe_free_model_hooks()


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image upright, as its EXIF data says, and put it on white where it is transparent.

    Raises:
        ValueError: it has more than 8 bits a channel, of which Pillow would make white.
    """
    if image.mode[0] in "IF":
        raise ValueError("it has more than 8 bits a channel")
    image = ImageOps.exif_transpose(image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def check_pipeline(pipeline: DiffusionPipeline) -> None:
    """Refuse a pipeline that cannot generate from a prompt alone.

    Raises:
        ValueError: it starts from an image, or DeepCache is enabled on it.
    """
    if "image" in call_arguments(pipeline):
        raise ValueError(
            f"A {type(pipeline).__name__} starts from an image, which settings do not hold: use a "
            "text-to-image pipeline."
        )
    forward = getattr(getattr(pipeline, "unet", None), "forward", None)
    if "DeepCache" in getattr(forward, "__qualname__", ""):
        raise ValueError(
            "DeepCache is enabled and works only where the pipeline itself is called: call "
            "helper.disable() first."
        )


def call_arguments(pipeline: DiffusionPipeline) -> set[str]:
    """Return the names of the arguments that a pipeline takes when it is called."""
    return set(inspect.signature(pipeline.__call__).parameters) - {"args", "kwargs"}


def ignores_negative_prompt(pipeline: DiffusionPipeline) -> bool:
    """Whether a negative prompt has no effect, as in LCM's pipeline or Flux's."""
    arguments = call_arguments(pipeline)
    return "negative_prompt" not in arguments or "true_cfg_scale" in arguments


def default_size(pipeline: DiffusionPipeline) -> int | None:
    """Return the pixels of a side that a pipeline generates by default; None if it is unknown."""
    for name in ("unet", "transformer"):
        side = getattr(getattr(getattr(pipeline, name, None), "config", None), "sample_size", None)
        if isinstance(side, int) and hasattr(pipeline, "vae_scale_factor"):
            return side * pipeline.vae_scale_factor
    return None


def notices(pipeline: DiffusionPipeline, settings: Settings) -> dict[str, str]:
    """Say what a reader should know of settings before an image is generated.

    Returns:
        A sentence or more by the name of the setting, only where there is something to say.
    """
    found = {
        "prompt": _notice_text(settings.prompt, pipeline),
        "negative_prompt": _notice_text(settings.negative_prompt, pipeline),
    }
    if settings.negative_prompt and ignores_negative_prompt(pipeline):
        found["negative_prompt"] = f"{type(pipeline).__name__} ignores the negative prompt."
    elif settings.negative_prompt and settings.guidance_scale <= 1:
        found["guidance_scale"] = "The negative prompt has an effect only with guidance above 1."
    return {name: sentence for name, sentence in found.items() if sentence}


def _notice_text(text: str, pipeline: Any) -> str:
    sentences = []
    if cut := truncated_words(text, pipeline):
        sentences.append(f"Too long, so this is not read: {cut}.")
    names = ("tokenizer", "tokenizer_2", "tokenizer_3")
    tokenizers = [part for name in names if (part := getattr(pipeline, name, None)) is not None]
    added = sorted({token for tokenizer in tokenizers for token in tokenizer.get_added_vocab()})
    for token in added:  # words of textual inversion
        lower = token.lower()
        text = text.replace(token, " ") if token == lower else text
        text, others = re.subn(re.escape(token), " ", text, flags=re.IGNORECASE)
        if others and f"{token}_1" in added:
            sentences.append(
                f"Only one vector of {token} is read: load it as {lower}, and write it so."
            )
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", text)) if tokenizers else {}
    if unknown := [word for word in words if all(len(t.tokenize(word)) > 1 for t in tokenizers)]:
        sentences.append(f"Not in the vocabulary, so read in pieces: {', '.join(unknown)}.")
    return " ".join(sentences)


def _steps_left_out(pipeline: DiffusionPipeline, steps: int, strength: float) -> int:
    """The number of steps that an image-to-image pipeline leaves out at the beginning."""
    if type(pipeline).__name__.startswith("LatentConsistency"):
        return 0  # it spreads all of its steps over what the strength leaves
    if getattr(pipeline, "unet", None) is None:  # Flux, Stable Diffusion 3 and others round up
        return int(max(steps - steps * strength, 0))
    return max(steps - int(steps * strength), 0)


def _after_each_step(scheduler: Any, on_step: OnStep, skipped: int) -> None:
    """Call back from the scheduler, which every pipeline uses: not all take a callback.

    `skipped` are the timesteps left out at the beginning, where it starts from an image.
    """
    step, done = scheduler.step, 0
    signature = inspect.signature(step)

    @wraps(step)  # pipelines inspect its arguments
    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        predict = _prediction(scheduler, **signature.bind(*args, **kwargs).arguments)
        result, done = step(*args, **kwargs), done + 1
        steps = len(scheduler.timesteps) - skipped  # some take more than they are asked for
        if not on_step(done, steps, predict):
            raise Stopped(f"after step {done} of {steps}")
        return result

    scheduler.step = watched


def _prediction(
    scheduler: Any, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **_: Any
) -> Callable[[], torch.Tensor | None]:
    """Return a function for the predicted clean latents (x0) before a step is taken."""
    alphas = getattr(scheduler, "alphas_cumprod", None)
    kind = scheduler.config.get("prediction_type", "epsilon")
    if alphas is None or len(sample) > 1 or kind not in ("epsilon", "v_prediction"):
        return lambda: None
    scaled = scheduler.scale_model_input(sample, timestep)  # as the UNet got it

    def predict() -> torch.Tensor:
        noisy, output = scaled.float(), model_output.float()
        alpha = alphas[round(float(timestep))].to(noisy)
        if kind == "v_prediction":
            return alpha.sqrt() * noisy - (1 - alpha).sqrt() * output
        return (noisy - (1 - alpha).sqrt() * output) / alpha.sqrt()

    return predict
