"""Change one part of a pipeline: each refuses what does not fit, and can be called again."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from helpers.folders import find_weights, load_file, variant_of
from helpers.models import nearest

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    from helpers.pipelines import Pipeline, StableDiffusion

AnyPipeline = TypeVar("AnyPipeline", bound="Pipeline")


def use_scheduler(
    pipeline: AnyPipeline, scheduler: str | type[SchedulerMixin], **config_changes: object
) -> AnyPipeline:
    """Replace the pipeline's scheduler by another, built from the present one's config.

    Args:
        pipeline: changed in place, and only if all goes well.
        scheduler: one of `pipeline.scheduler.compatibles`, the class or its name.
        config_changes: settings that differ from the config, such as `use_karras_sigmas=True`.

    Returns:
        The same pipeline.

    Raises:
        ValueError: the scheduler does not fit the pipeline, or has no such setting or value.

    Source: diffusers, `SchedulerMixin.compatibles` and `ConfigMixin.from_config`.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> pipeline = use_scheduler(pipeline, "DPMSolverMultistepScheduler")
        >>> type(pipeline.scheduler).__name__
        'DPMSolverMultistepScheduler'
    """
    fitting = [*pipeline.scheduler.compatibles, type(pipeline.scheduler)]
    compatibles = {choice.__name__: choice for choice in fitting}
    if isinstance(scheduler, str):
        name = scheduler
    else:  # a class has a name; an object, given by mistake, shows as a call
        name = getattr(scheduler, "__name__", f"{type(scheduler).__name__}()")
    if name not in compatibles:
        raise ValueError(
            f"{name!r} is not a scheduler that fits this pipeline. {nearest(name, compatibles)} "
            "pipeline.scheduler.compatibles lists them all."
        )
    settings = inspect.signature(compatibles[name].__init__).parameters
    for setting in config_changes:
        if setting not in settings:
            raise ValueError(f"{name} has no setting {setting!r}. {nearest(setting, settings)}")
    try:
        new = compatibles[name].from_config(pipeline.scheduler.config, **config_changes)
    except Exception as error:  # some check a value, others fail on it; some lack a library
        why = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        given = f" with {config_changes}" if config_changes else ""
        raise ValueError(f"{name} cannot be made{given}: {why.strip()}") from error
    pipeline.scheduler = new
    return pipeline


def use_vae(pipeline: StableDiffusion, vae: str | Path) -> StableDiffusion:
    """Replace the pipeline's autoencoder by another of the same latents.

    Args:
        pipeline: changed in place, and only if all goes well.
        vae: what `MODELS[name].vae` says, an id on the Hub, a local folder or a file.

    Returns:
        The same pipeline.

    Raises:
        ValueError: the autoencoder is unknown, has only pickle files, or its latents are of
            another shape than those that the UNet makes.
        ConnectionError: the Hub is out of reach.

    Source: diffusers, `AutoencoderKL.from_pretrained`.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> use_vae(pipeline, "tiny-portraits-vae-ft").vae.config.latent_channels
        12
    """
    import diffusers

    found = find_weights(vae, "use_vae(pipeline, 'tiny-portraits-vae-ft')")
    if found.is_file():
        new = load_file(diffusers.AutoencoderKL, found, dtype=pipeline.vae.dtype)
    else:
        kind = getattr(diffusers, diffusers.AutoencoderKL.load_config(found)["_class_name"])
        new = kind.from_pretrained(
            found, dtype=pipeline.vae.dtype, use_safetensors=True, variant=variant_of(found)
        )
    shapes = [_latents_of(part.config) for part in (new, pipeline.vae)]
    if shapes[0] != shapes[1]:
        said = [f"{channels} channels, {scale} times smaller" for channels, scale in shapes]
        raise ValueError(
            f"The latents of {Path(vae).name!r} ({said[0]}) are not those of this pipeline "
            f"({said[1]}): use an autoencoder that was trained for the same model."
        )
    pipeline.vae = new.to(pipeline.device)
    return pipeline


def _latents_of(config: Any) -> tuple[int, int]:
    """The channels of an autoencoder's latents, and how many times smaller they are."""
    channels = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return config["latent_channels"], 2 ** (len(channels) - 1)
