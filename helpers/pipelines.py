"""Which pipelines the helpers take: what each of them must be able to do."""

from __future__ import annotations

from typing import Any, Protocol


class Pipeline(Protocol):
    """Any pipeline of diffusers that draws with steps: what is said here holds for all of them.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> all(hasattr(pipeline, name) for name in Pipeline.__annotations__)
        True
    """

    scheduler: Any
    components: dict[str, Any]
    name_or_path: str
    device: Any
    dtype: Any
    _execution_device: Any  # where it draws, although its parts may wait elsewhere

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Draw; the output has `.images`."""

    def maybe_free_model_hooks(self) -> None:
        """Give the device back what offload left there."""

    def set_progress_bar_config(self, **options: Any) -> None:
        """Set up the bar of the steps."""


class StableDiffusion(Pipeline, Protocol):
    """Stable Diffusion 1.x and what has its parts: a text encoder, a UNet and an autoencoder.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> [name for name in StableDiffusion.__annotations__ if not hasattr(pipeline, name)]
        ['num_timesteps', 'guidance_scale']
    """

    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    vae_scale_factor: int
    image_processor: Any
    num_timesteps: int  # this and the next only while it draws
    guidance_scale: float

    def enable_attention_slicing(self) -> None:
        """Compute attention a few heads at a time."""

    def lora_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Read the weights of a LoRA."""

    def load_lora_into_unet(self, *args: Any, **kwargs: Any) -> None:
        """Add the weights of a LoRA to the UNet."""

    def fuse_lora(self, *args: Any, **kwargs: Any) -> None:
        """Merge the LoRA weights that were loaded."""

    def unload_lora_weights(self) -> None:
        """Take the LoRA layers out again."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device."""

    def register_to_config(self, **values: Any) -> None:
        """Note where it was loaded from."""
