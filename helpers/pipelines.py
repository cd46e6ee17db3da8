"""Which pipelines the helpers take: what each of them must be able to do."""

from __future__ import annotations

from typing import Any, Protocol


class Pipeline(Protocol):
    """Any pipeline of diffusers that draws with steps.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> [name for name in Pipeline.__annotations__ if not hasattr(pipeline, name)]
        []
    """

    scheduler: Any
    components: dict[str, Any]
    name_or_path: str
    device: Any
    dtype: Any
    _execution_device: Any  # where it draws, although its parts may wait elsewhere
    maybe_free_model_hooks: Any
    set_progress_bar_config: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Draw; the output has `.images`."""


class StableDiffusion(Pipeline, Protocol):
    """Stable Diffusion 1.x and what has its parts: a text encoder, a UNet and an autoencoder.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> [name for name in StableDiffusion.__annotations__ if not hasattr(pipeline, name)]
        ['guidance_scale']
    """

    tokenizer: Any
    text_encoder: Any
    encode_prompt: Any
    unet: Any
    vae: Any
    safety_checker: Any
    vae_scale_factor: int
    image_processor: Any
    to: Any
    guidance_scale: float  # only while it draws
    enable_attention_slicing: Any
    load_lora_into_unet: Any
    unload_lora_weights: Any
    register_to_config: Any
    lora_state_dict: Any
    fuse_lora: Any
