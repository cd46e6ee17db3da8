"""Keep the settings that made an image inside its PNG, and read them back from any file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from uuid import uuid4

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

CHUNK = "effective-diffusion"  # the text chunk that holds all settings, as JSON
MAX_CHARACTERS = 500_000  # of that chunk

# What AUTOMATIC1111 calls the schedulers of Diffusers; any other keeps the name of its class.
SAMPLERS = {
    "DDIMScheduler": "DDIM",
    "DEISMultistepScheduler": "DEIS",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "EulerDiscreteScheduler": "Euler",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "KDPM2DiscreteScheduler": "DPM2",
    "LCMScheduler": "LCM",
    "LMSDiscreteScheduler": "LMS",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
}


class SettingsError(ValueError):
    """A setting is missing, of the wrong type or out of range; `setting` is its name."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


NAME = r"\w[\w.-]{0,99}"
Text = Annotated[str, Field(max_length=10_000, description="text of at most 10,000 characters")]
Pixels = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]
PIXELS = "a multiple of 8 from 8 to 8192, or None for the model's default"


class Settings(BaseModel):
    """What was asked for, and which model generated the image.

    The values are checked, because they may come from a file of unknown origin. A number may be
    one of NumPy or PyTorch, or text, as in a CSV file.

    Raises:
        SettingsError: a setting is missing, unknown, of the wrong type or out of range. It is a
            ValueError whose `setting` is the name.

    Example:
        >>> Settings("a knight", dtype="half")
        Traceback (most recent call last):
        labs...SettingsError: dtype should be float32, bfloat16 or float16, not 'half'.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: Text
    negative_prompt: Text = ""
    seed: int = Field(0, ge=0, lt=2**64, description="a whole number from 0 to 2**64 - 1")
    num_inference_steps: int = Field(20, ge=1, le=1000, description="a whole number from 1 to 1000")
    guidance_scale: float = Field(7.5, ge=0, le=100, description="a number from 0 to 100")
    scheduler: str = Field(
        "PNDMScheduler", pattern=r"^[A-Z]\w{0,99}$", description="the name of a scheduler's class"
    )
    height: Pixels | None = Field(None, description=PIXELS)
    width: Pixels | None = Field(None, description=PIXELS)
    model: str = Field(
        "tiny-portraits",
        pattern=f"^{NAME}(/{NAME})?$",
        description="a name such as 'tiny-portraits' or 'owner/name', never a path",
    )
    revision: str | None = Field(None, pattern=f"^{NAME}$", description="a commit's name")
    pipeline: str = Field("", pattern=r"^\w{0,100}$", description="the name of a pipeline's class")
    dtype: str = Field(
        "float32",
        pattern="^(float32|bfloat16|float16)$",
        description="float32, bfloat16 or float16",
    )
    weights: str | None = Field(
        None, pattern="^[0-9a-f]{12}$", description="a fingerprint of 12 hexadecimal digits"
    )
    loras: dict[str, float] = Field(
        {}, max_length=50, description="a number for each name of LoRA weights"
    )

    @field_validator("seed", "num_inference_steps", "guidance_scale", mode="before")
    @classmethod
    def _check_number(cls, value: Any) -> Any:
        if getattr(value, "ndim", 1) == 0:  # of NumPy or PyTorch, which pydantic makes a float
            value = value.item()
        if isinstance(value, bool):  # pydantic would take it for 0 or 1
            raise ValueError("a bool is not a number")
        return value

    def __init__(
        self, /, prompt: str | None = None, negative_prompt: str = "", **settings: Any
    ) -> None:
        # Two by position, as in a call of the pipeline; and one sentence instead of a report.
        try:
            super().__init__(prompt=prompt, negative_prompt=negative_prompt, **settings)
        except ValidationError as error:
            raise _explain(error) from None

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with other values, which are checked."""
        return Settings(**{**self.model_dump(), **changes})


def _explain(error: ValidationError) -> SettingsError:
    first = error.errors(include_url=False)[0]
    name, value = str(first["loc"][0]), repr(first["input"])
    if name not in Settings.model_fields:
        return SettingsError(name, f"There is no setting {name!r}.")
    expected = Settings.model_fields[name].description
    return SettingsError(name, f"{name} should be {expected}, not {value:.60}.")


def save_image(
    image: Image.Image,
    path: str | Path | BinaryIO,
    settings: Settings,
    *,
    seconds: float | None = None,
) -> None:
    """Save an image as PNG, with its settings inside; README.md says how they are written.

    Args:
        path: a name that ends in .png, or an open binary file.
        settings: what the image was made with; without a size, the image's own is recorded.
        seconds: how long that took, for a text chunk of that name.

    Raises:
        ValueError: the name does not end in .png.
        OSError: the file cannot be written. An image that was there before is as it was.
    """
    if isinstance(path, str | Path):
        path = Path(path).expanduser()
        if path.suffix.lower() != ".png":
            raise ValueError(f"Settings are kept in PNG files: call it {path.stem}.png.")
        with replace_file(path) as file:
            save_image(image, file, settings, seconds=seconds)
        return
    if settings.height is None and settings.width is None and not any(n % 8 for n in image.size):
        settings = settings.replace(width=image.width, height=image.height)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", to_parameters(settings, image.size))
    chunks.add_text(CHUNK, settings.model_dump_json())
    if seconds is not None:
        chunks.add_text("seconds", f"{seconds:.4f}")
    image.save(path, format="PNG", pnginfo=chunks)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is written beside its place, and renamed once it is complete.

    Raises:
        OSError: it cannot be written. What was there before is as it was.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}). What was there before is "
            "as it was."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def to_parameters(settings: Settings, size: tuple[int, int]) -> str:
    """Write settings, and a size in pixels, as AUTOMATIC1111's `create_infotext` does.

    Source: AUTOMATIC1111/stable-diffusion-webui, `create_infotext`.
    """
    loras = [f"<lora:{name}:{strength:g}>" for name, strength in settings.loras.items()]
    lines = [" ".join([settings.prompt, *loras])]
    if settings.negative_prompt:
        lines.append(f"Negative prompt: {settings.negative_prompt}")
    sampler = SAMPLERS.get(settings.scheduler, settings.scheduler)
    lines.append(
        f"Steps: {settings.num_inference_steps}, Sampler: {sampler}, "
        f"CFG scale: {settings.guidance_scale:.10g}, Seed: {settings.seed}, "
        f"Size: {size[0]}x{size[1]}, Model: {settings.model}"
    )
    return "\n".join(lines)


def read_settings(png: str | Path | BinaryIO) -> Settings:
    """Read the settings that `save_image` or the page in web/ put into a PNG.

    The file may come from anywhere: nothing in it is executed, its pixels are not decoded unless
    the settings come after them, and the model that it names is not loaded.

    Args:
        png: the file's name, or an open binary file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a PNG, holds no settings, or they are damaged.
    """
    name = "This file"
    if isinstance(png, str | Path):
        png = Path(png).expanduser()
        name = png.name
        if not png.is_file():
            raise FileNotFoundError(f"There is no file {png}: give the name of a PNG image.")
    try:
        with Image.open(png, formats=["PNG"]) as image:
            if CHUNK not in image.info:
                image.load()  # text chunks may come after the pixels
            text = image.info.get(CHUNK)
    except Exception as error:  # Pillow raises many kinds for a damaged or hostile file
        raise ValueError(f"{name} is not a PNG image that can be read.") from error
    if text is None:
        raise ValueError(
            f"{name} holds no settings: only images saved by save_image, the playground or the "
            "web page do, and many programs drop them when they save an image again."
        )
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"they have {len(text):,} characters, more than {MAX_CHARACTERS:,}")
        data = json.loads(text)
        if not isinstance(data, dict) or "prompt" not in data:
            raise ValueError("they name no prompt")
        return Settings(**{key: val for key, val in data.items() if key in Settings.model_fields})
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The settings in {name} cannot be used: {error}") from error
