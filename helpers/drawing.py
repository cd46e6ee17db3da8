"""Draw from plain settings: shown while it forms, stopped at any step, and as plain code."""

from __future__ import annotations

import copy
import inspect
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from helpers.inputs import cut_words, make_generators, unknown_words
from helpers.loading import MODELS, identify, use_scheduler
from helpers.settings import Settings
from helpers.timing import PACKAGES

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin

ENOUGH_STEPS = (5, 10, 15, 20, 30, 50)  # to advise; with more than the last, few fail
OnStep = Callable[[int, int, Callable[[], torch.Tensor | None]], bool]


class Stopped(Exception):
    """The drawing was stopped before its last step; there is no picture.

    Example:
        >>> str(Stopped("after step 3 of 20"))
        'after step 3 of 20'
    """


def draw(pipeline: DiffusionPipeline, settings: Settings, on_step: OnStep) -> Image.Image:
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
        >>> settings = describe_settings(pipeline, "a knight", num_inference_steps=3)
        >>> draw(pipeline, settings, on_step=lambda step, steps, foresee: True).size
        (128, 128)
    """
    own = use_scheduler(copy.copy(pipeline), settings.scheduler)
    own.set_progress_bar_config(disable=True)
    with _watch(own) as seen:

        def after_step(_: object, step: int, *rest: object) -> dict[str, Any]:
            steps = own.num_timesteps  # some schedulers take more than they are asked for
            if not on_step(step + 1, steps, partial(_foresee, own, seen)):
                raise Stopped(f"after step {step + 1} of {steps}")
            return {}

        try:
            output = own(
                settings.prompt,
                negative_prompt=settings.negative_prompt,
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                generator=make_generators(settings.seed),
                callback_on_step_end=after_step,
            )
        finally:
            own.maybe_free_model_hooks()
    return output.images[0]


def describe_settings(
    pipeline: DiffusionPipeline,
    prompt: str,
    *,
    negative_prompt: str = "",
    seed: int = 0,
    num_inference_steps: int = 20,
    guidance_scale: float = 7.5,
    scheduler: str | None = None,
) -> Settings:
    """Complete what a reader chooses with what the pipeline adds: model, config, versions.

    Args:
        pipeline: what is to draw.
        scheduler: the name of one that fits; None for the pipeline's own.

    Raises:
        ValueError: a setting is out of range, or the scheduler does not fit.

    Example:
        >>> from helpers import load_pipeline
        >>> settings = describe_settings(load_pipeline("tiny-portraits", device="cpu"), "a knight")
        >>> settings.model, settings.scheduler, settings.scheduler_config["steps_offset"]
        ('tiny-portraits', 'PNDMScheduler', 1)
    """
    name = scheduler or type(pipeline.scheduler).__name__
    config = use_scheduler(copy.copy(pipeline), name).scheduler.config
    model, revision = identify(pipeline)
    return Settings(
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        scheduler=name,
        scheduler_config={key: value for key, value in config.items() if key[0] != "_"},
        model=model,
        revision=revision,
        dtype=str(pipeline.dtype).removeprefix("torch."),
        versions={package: metadata.version(package) for package in PACKAGES},
    )


def differences(settings: Settings, pipeline: DiffusionPipeline) -> str:
    """Say what keeps a pipeline from making the very picture of these settings, "" if nothing.

    The model that the settings name is not loaded, nor is their scheduler's config used: both may
    come from a file that nobody vouches for.

    Raises:
        ValueError: the settings' scheduler cannot draw with the pipeline.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> differences(Settings("a knight", model="me/mine"), pipeline).split(":")[0]
        "It was made with 'me/mine', not 'tiny-portraits'"
    """
    here = describe_settings(pipeline, "", scheduler=settings.scheduler)
    if settings.scheduler not in fitting_schedulers(pipeline):
        raise ValueError(
            f"{settings.scheduler!r} cannot draw with this model: choose one that the playground "
            "offers."
        )
    if (settings.model, settings.revision) != (here.model, here.revision):
        return (
            f"It was made with {settings.model!r}, not {here.model!r}: if you trust that model, "
            "load it with load_pipeline and start a playground with it."
        )
    config = settings.scheduler_config or here.scheduler_config
    changes = {key: val for key, val in config.items() if here.scheduler_config.get(key) != val}
    if changes:
        return (
            f"Its scheduler was set otherwise ({_shorten(changes)}): if you want that, set it with "
            "use_scheduler and start a playground with the pipeline."
        )
    if settings.dtype != here.dtype:
        return (
            f"It was made in {settings.dtype}, this pipeline draws in {here.dtype}: load it with "
            f"dtype={settings.dtype!r} for the same picture."
        )
    if settings.versions and settings.versions != here.versions:
        return f"It was made with {_shorten(settings.versions)}: the picture may differ a little."
    return ""


def to_code(settings: Settings, pipeline: DiffusionPipeline) -> str:
    """Write the lines of plain diffusers that make a picture again.

    Args:
        settings: what `describe_settings` returned for this pipeline.
        pipeline: the one that drew the picture.

    Returns:
        Code that leaves the picture in `image`. A model on this machine is named by its folder as
        seen from the working directory. Where diffusers alone cannot load it, a comment says so.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> code = to_code(describe_settings(pipeline, "a knight", seed=7), pipeline)
        >>> print(code.splitlines()[-2])
            generator=torch.Generator("cpu").manual_seed(7),
    """
    if not pipeline.name_or_path:
        return "# The pipeline was not loaded from anywhere that code could name.\n"
    if settings.model in MODELS and MODELS[settings.model].random_weights:
        where = f"device={pipeline.device.type!r}, dtype={settings.dtype!r}"
        return f"# Random weights: helpers.load_pipeline({settings.model!r}, {where}) draws them.\n"
    source = [_source(pipeline), f"dtype=torch.{settings.dtype}", "use_safetensors=True"]
    if settings.revision:
        source.append(f"revision={settings.revision!r}")
    changes = "".join(f", {key}={val!r}" for key, val in _changes(settings, pipeline).items())
    return f"""\
import torch
from diffusers import DiffusionPipeline, {settings.scheduler}

pipeline = DiffusionPipeline.from_pretrained(
    {", ".join(source)}
).to({str(pipeline.device)!r})
pipeline.scheduler = {settings.scheduler}.from_config(pipeline.scheduler.config{changes})
image = pipeline(
    prompt={settings.prompt!r},
    negative_prompt={settings.negative_prompt!r},
    num_inference_steps={settings.num_inference_steps},
    guidance_scale={settings.guidance_scale},
    generator=torch.Generator("cpu").manual_seed({settings.seed}),
).images[0]
"""


def notices(pipeline: DiffusionPipeline, settings: Settings) -> dict[str, str]:
    """Say what a reader should know of the settings before the picture is drawn.

    Returns:
        By the name of the setting, a sentence or more; only where there is something to say.

    Raises:
        ValueError: the scheduler does not fit the pipeline.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> notices(pipeline, describe_settings(pipeline, "a knight on a bicycle"))["prompt"]
        'No word of the model, so read in pieces: bicycle.'
    """
    found = {
        name: _notice_text(getattr(settings, name), pipeline)
        for name in ("prompt", "negative_prompt")
    }
    if settings.negative_prompt and settings.guidance_scale <= 1:
        found["guidance_scale"] = "Without guidance, above 1, the negative prompt is not read."
    found["scheduler"] = _notice_steps(settings, pipeline)
    return {name: sentence for name, sentence in found.items() if sentence}


def fitting_schedulers(pipeline: DiffusionPipeline) -> list[str]:
    """Return the names of the schedulers that can draw with a pipeline.

    Of its compatibles, those that take the betas that the model was trained with. One whose
    library is not installed takes nothing.

    Example:
        >>> from helpers import load_pipeline
        >>> fitting_schedulers(load_pipeline("tiny-portraits", device="cpu"))[:2]
        ['DDIMScheduler', 'DDPMScheduler']
    """
    needed = {"beta_start", "beta_end"} & set(pipeline.scheduler.config)
    return sorted(
        kind.__name__
        for kind in pipeline.scheduler.compatibles
        if needed <= set(inspect.signature(kind.__init__).parameters)
    )


def scheduler_works(
    scheduler: SchedulerMixin, num_inference_steps: int, guidance_scale: float = 1.0
) -> bool:
    """Tell whether a scheduler comes near the answer of two problems whose answers are known.

    If pictures were noise of a known deviation, the noise to take away would follow from a formula.

    1. The deviation is 0.5, whatever the prompt, and what is drawn must come out with it. With too
       few steps some schedulers come out many times stronger, which is a picture of noise, or
       hardly move, which is a blur.
    2. It is 2 without the prompt and 0.2 with it. What is drawn must not come out stronger than
       without: steps too long for the guidance overshoot, each more than the one before, which is
       a picture in glaring colours. A scheduler that adds noise at each step is not held to this:
       models mend what that leaves.

    Args:
        scheduler: the one to try, left with its timesteps set.
        num_inference_steps: how many steps it takes.
        guidance_scale: how strongly the prompt is followed; 1 for no guidance.

    Example:
        >>> from helpers import load_pipeline
        >>> pndm = load_pipeline("tiny-portraits", device="cpu").scheduler
        >>> scheduler_works(pndm, 1), scheduler_works(pndm, 20), scheduler_works(pndm, 20, 7.5)
        (False, True, False)
    """
    without, prompted = torch.tensor([[0.5, 2.0], [0.5, 0.2]]).reshape(2, 1, 2, 1, 1)
    generator = torch.Generator("cpu").manual_seed(0)
    takes = (
        {"generator": generator}
        if "generator" in inspect.signature(scheduler.step).parameters
        else {}
    )
    try:
        scheduler.set_timesteps(num_inference_steps)
        latents = torch.randn(1, 2, 16, 16, generator=generator) * scheduler.init_noise_sigma
        random_state = generator.get_state()
        for timestep in scheduler.timesteps:
            sample = scheduler.scale_model_input(latents, timestep)
            alpha = scheduler.alphas_cumprod[round(float(timestep))]
            noise, guided = (
                (1 - alpha).sqrt() / (alpha * deviation**2 + 1 - alpha)
                for deviation in (without, prompted)
            )
            strength = noise + guidance_scale * (guided - noise)
            if scheduler.config.get("prediction_type", "epsilon") == "v_prediction":
                strength = (strength - (1 - alpha).sqrt()) / alpha.sqrt()
            latents = scheduler.step(strength * sample, timestep, latents, **takes).prev_sample
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError):
        return False
    first, second = (latents.std(dim=(0, 2, 3)) / without.flatten()).tolist()
    adds_noise = not torch.equal(random_state, generator.get_state())
    return 0.4 <= first <= 1.5 and (adds_noise or second <= 1)


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
    latents = encoded.latent_dist.mode().float().cpu()
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
def _watch(pipeline: DiffusionPipeline) -> Iterator[dict[str, torch.Tensor]]:
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


def _foresee(pipeline: DiffusionPipeline, seen: dict[str, torch.Tensor]) -> torch.Tensor | None:
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


def _notice_text(text: str, pipeline: DiffusionPipeline) -> str:
    sentences = []
    if cut := cut_words(text, pipeline):
        sentences.append(f"Too long: cut at 77 tokens, so not read: {cut}.")
    if unknown := unknown_words(text, pipeline):
        sentences.append(f"No word of the model, so read in pieces: {', '.join(unknown)}.")
    return " ".join(sentences)


def _notice_steps(settings: Settings, pipeline: DiffusionPipeline) -> str:
    scheduler = use_scheduler(copy.copy(pipeline), settings.scheduler).scheduler
    asked, guidance = settings.num_inference_steps, settings.guidance_scale
    works = partial(_works, type(scheduler), scheduler.to_json_string(), max(1.0, guidance))
    if asked > ENOUGH_STEPS[-1] or works(asked):
        return ""
    enough = next((steps for steps in ENOUGH_STEPS if steps > asked and works(steps)), None)
    advice = f"take {enough}" if enough else "choose another, or less guidance"
    return f"{settings.scheduler} may fail at {asked} steps with guidance {guidance:g}: {advice}."


@lru_cache
def _works(
    kind: type[SchedulerMixin], config: str, guidance_scale: float, num_inference_steps: int
) -> bool:
    """Remember the answer: it is asked for with each key that is pressed."""
    return scheduler_works(
        kind.from_config(json.loads(config)), num_inference_steps, guidance_scale
    )


def _source(pipeline: DiffusionPipeline) -> str:
    """Return what `from_pretrained` takes to load the pipeline's model, as code."""
    model, revision = identify(pipeline)
    if revision or not os.path.isdir(str(pipeline.name_or_path)):
        return repr(model)
    return repr(os.path.relpath(pipeline.name_or_path).replace(os.sep, "/"))


def _changes(settings: Settings, pipeline: DiffusionPipeline) -> dict[str, Any]:
    """Return what differs from the config that the scheduler would make of the checkpoint's."""
    kind = type(use_scheduler(copy.copy(pipeline), settings.scheduler).scheduler)
    checkpoint = kind.load_config(pipeline.name_or_path, subfolder="scheduler")
    usual = kind.from_config(checkpoint).config
    config = settings.scheduler_config or {}
    return {key: val for key, val in config.items() if key in usual and usual[key] != val}


def _shorten(values: dict[str, object]) -> str:
    text = ", ".join(f"{name}: {value}" for name, value in values.items())
    return text if len(text) <= 100 else f"{text[:100]} ..."
