"""Draw one picture from its settings: shown while it forms, stopped at any step."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from helpers.changes import use_scheduler
from helpers.inputs import make_generators
from labs.images.settings import Settings

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from helpers.pipelines import StableDiffusion

SIDES = ("height", "width")
OnStep = Callable[[int, int, Callable[[], torch.Tensor | None]], bool]


class Stopped(Exception):
    """The drawing was stopped before its last step; there is no picture.

    Example:
        >>> str(Stopped("after step 3 of 20"))
        'after step 3 of 20'
    """


def draw(pipeline: StableDiffusion, settings: Settings, on_step: OnStep) -> Image.Image:
    """Draw one picture, and ask after each step whether to go on.

    The pipeline itself stays as it is: a copy of it, which shares its weights, draws with a
    scheduler of its own, so that the pipeline can be used elsewhere meanwhile.

    Args:
        pipeline: what draws.
        settings: what to draw. Their model and config are a record and are not loaded.
        on_step: called with the number of steps done, that of all, and a function that returns
            the picture as the model foresees it at this step, in latents (1 x C x H x W), or None
            if the pipeline does not tell. Returns whether to go on.

    Raises:
        Stopped: `on_step` said not to go on.
        ValueError: the scheduler does not fit the pipeline.

    Source: diffusers, "Pipeline callbacks".

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> from labs.images.describing import describe_settings
        >>> settings = describe_settings(pipeline, "a knight", num_inference_steps=3)
        >>> draw(pipeline, settings, on_step=lambda step, steps, foresee: True).size
        (128, 128)
    """
    own = use_scheduler(copy.copy(pipeline), settings.scheduler)
    own.set_progress_bar_config(disable=True)
    size = {side: pixels for side in SIDES if (pixels := getattr(settings, side)) is not None}
    with _watch(own) as seen:
        _after_each_step(own, on_step, partial(_foresee, own, seen))
        try:
            output = own(
                settings.prompt,
                negative_prompt=settings.negative_prompt,
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                generator=make_generators(settings.seed),
                **size,
            )
        finally:
            own.maybe_free_model_hooks()
    return output.images[0]


def _after_each_step(
    pipeline: StableDiffusion, on_step: OnStep, foresee: Callable[[], torch.Tensor | None]
) -> None:
    """Ask after each step, where every pipeline passes: some do not heed a callback."""
    scheduler, taken = pipeline.scheduler, 0
    take = scheduler.step

    @wraps(take)  # pipelines look at its arguments
    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal taken
        result, taken = take(*args, **kwargs), taken + 1
        steps = len(scheduler.timesteps)  # some schedulers take more than they are asked for
        if not on_step(taken, steps, foresee):
            raise Stopped(f"after step {taken} of {steps}")
        return result

    scheduler.step = watched


@torch.no_grad()
def fit_preview(vae: AutoencoderKL) -> torch.Tensor:
    """Fit the linear map from latents to colours that comes nearest to decoding them.

    A few smooth pictures of random colours are encoded; least squares then tell the mean colour of
    the pixels that one place of the latents stands for. That is a picture an eighth as wide, at a
    hundredth of the decoder's cost or less.

    Returns:
        A matrix of (C + 1) x 3 for C latent channels, the last row for a constant 1; colours from
        0 to 1.

    Example:
        >>> from helpers import load_pipeline
        >>> fit_preview(load_pipeline("tiny-portraits", device="cpu").vae).shape
        torch.Size([13, 3])
    """
    generator = torch.Generator("cpu").manual_seed(0)
    corners = torch.rand(4, 3, 5, 5, generator=generator)
    pictures = torch.nn.functional.interpolate(corners, (128, 128), mode="bilinear")
    if vae.dtype == torch.float16:  # it overflows in some encoders
        vae = torch.nn.Module.to(copy.deepcopy(vae), torch.float32)
    encoded = vae.encode((2 * pictures - 1).to(vae.device, vae.dtype))
    # AutoencoderTiny gives latents, which are neither shifted nor scaled; AutoencoderKL a spread.
    tiny = not hasattr(encoded, "latent_dist")
    latents = (encoded.latents if tiny else encoded.latent_dist.mode()).float().cpu()
    if not tiny:
        latents = (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    colours = torch.nn.functional.adaptive_avg_pool2d(pictures, latents.shape[-2:])
    return torch.linalg.lstsq(
        _with_constant(latents), colours.movedim(1, -1).flatten(0, 2)
    ).solution


def preview(latents: torch.Tensor, fitted: torch.Tensor) -> Image.Image:
    """Show latents as a small picture, without the decoder.

    Args:
        latents: 1 x C x H x W.
        fitted: what `fit_preview` returned.

    Returns:
        A picture of W x H pixels.

    Example:
        >>> preview(torch.zeros(1, 4, 16, 24), torch.zeros(5, 3)).size
        (24, 16)
    """
    colours = _with_constant(latents.float().cpu()) @ fitted
    pixels = (255 * colours.clamp(0, 1)).round().to(torch.uint8)
    height, width = latents.shape[-2:]
    return Image.fromarray(pixels.reshape(height, width, 3).numpy())


def _with_constant(latents: torch.Tensor) -> torch.Tensor:
    """Lay latents of N x C x H x W out in rows of C + 1, the last of them 1."""
    rows = latents.movedim(1, -1).flatten(0, 2)
    return torch.nn.functional.pad(rows, (0, 1), value=1.0)


@contextmanager
def _watch(pipeline: StableDiffusion) -> Iterator[dict[str, torch.Tensor]]:
    """Note what goes into the UNet and what comes out of it, on this thread alone."""
    seen: dict[str, torch.Tensor] = {}
    thread = threading.get_ident()

    def note(module: object, args: tuple, output: tuple) -> None:
        if threading.get_ident() == thread:
            seen.update(sample=args[0], timestep=args[1], output=output[0])

    unet = getattr(pipeline, "unet", None)
    handle = unet.register_forward_hook(note) if unet is not None else None
    try:
        yield seen
    finally:
        if handle:
            handle.remove()


def _foresee(pipeline: StableDiffusion, seen: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Return the latents that the model's last prediction leads to, if it led there at once."""
    alphas = getattr(pipeline.scheduler, "alphas_cumprod", None)
    if not seen or alphas is None:
        return None
    sample, output = seen["sample"].float(), seen["output"].float()
    if len(output) == 2:  # without the prompt, with it
        output = output[:1] + pipeline.guidance_scale * (output[1:] - output[:1])
    alpha = alphas[round(float(seen["timestep"]))].to(sample)
    if pipeline.scheduler.config.get("prediction_type", "epsilon") == "v_prediction":
        return alpha.sqrt() * sample[:1] - (1 - alpha).sqrt() * output
    return (sample[:1] - (1 - alpha).sqrt() * output) / alpha.sqrt()
