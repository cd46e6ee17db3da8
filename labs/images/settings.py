"""Keep the settings that made a picture inside its PNG, and read them back from any file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

CHUNK = "effective-diffusion"  # the text chunk that holds all settings, as JSON
MAX_CHARACTERS = 500_000  # of that chunk
MAX_BYTES = 100_000_000  # of a file
NEWER = {"height", "width", "weights", "changes"}  # pictures drawn before lack these
SIZES = set(range(8, 8200, 8))  # that can be drawn


@dataclass(frozen=True)
class Settings:
    """All that it takes to make a picture again; checked, so that a file may be its source.

    Raises:
        ValueError: a setting is of the wrong type or out of range.

    Example:
        >>> Settings("a knight", seed=7).num_inference_steps
        20
        >>> Settings("a knight", seed=-1)
        Traceback (most recent call last):
        ValueError: seed must be a whole number from 0 to 2**64 - 1, not -1.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    scheduler: str = "PNDMScheduler"
    scheduler_config: dict[str, Any] | None = None  # None: as the checkpoint has it
    model: str = "tiny-portraits"  # a name of MODELS, an id on the Hub, or a folder's name
    revision: str | None = None  # the commit on the Hub
    dtype: str = "float32"
    height: int | None = None  # pixels; None: as the model has it
    width: int | None = None
    weights: str | None = None  # the fingerprint of what drew
    changes: list[str] | None = None  # to the pipeline, as far as they have names
    versions: dict[str, str] | None = None  # of the libraries

    def __post_init__(self) -> None:
        for name in ("seed", "num_inference_steps", "guidance_scale", "height", "width"):
            value = getattr(self, name)
            if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # of NumPy or PyTorch
                object.__setattr__(self, name, value.item())
        for name, (is_right, wanted) in RULES.items():
            value = getattr(self, name)
            if not is_right(value):
                shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]} ..."
                raise ValueError(f"{name} must be {wanted}, not {shown}.")


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 10_000:
        return False
    return not re.search("[\ud800-\udfff]", value)  # half a character, which no file can hold


def _is_whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high  # True is no number


def _is_size(value: object) -> bool:
    return value is None or (type(value) is int and 8 <= value <= 8192 and value % 8 == 0)


def _is_list_of_text(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and len(value) <= 50 and all(map(_is_text, value))


def _is_guidance(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 <= value <= 100


def _matches(pattern: str, empty: bool = False) -> Callable[[object], bool]:
    def is_right(value: object) -> bool:
        if value is None:
            return empty
        return isinstance(value, str) and bool(re.fullmatch(pattern, value, re.ASCII))

    return is_right


def _maps_text_to(kind: type) -> Callable[[object], bool]:
    return lambda value: (
        value is None
        or (isinstance(value, dict) and all(type(key) is str for key in value))
        and all(isinstance(one, kind) for one in value.values())
    )


# Of each setting: what is right, and how to say so. A model is a name: a path would lead a reader
# who trusts it anywhere on the disk.
RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "prompt": (_is_text, "text of at most 10,000 whole characters"),
    "negative_prompt": (_is_text, "text of at most 10,000 characters"),
    "seed": (_is_whole(0, 2**64 - 1), "a whole number from 0 to 2**64 - 1"),
    "num_inference_steps": (_is_whole(1, 1000), "a whole number from 1 to 1000"),
    "guidance_scale": (_is_guidance, "a number from 0 to 100"),
    "scheduler": (_matches(r"[A-Z]\w{0,99}"), "the name of a scheduler's class"),
    "scheduler_config": (_maps_text_to(object), "settings by name"),
    "model": (
        _matches(r"\w[\w.-]{0,99}(/\w[\w.-]{0,99})?"),
        "a name such as 'tiny-portraits' or 'owner/name', never a path",
    ),
    "revision": (_matches(r"\w[\w.-]{0,99}", empty=True), "a commit's name"),
    "height": (_is_size, "a multiple of 8 from 8 to 8192, or None"),
    "width": (_is_size, "a multiple of 8 from 8 to 8192, or None"),
    "weights": (_matches(r"[0-9a-f]{12}", empty=True), "a fingerprint of 12 digits"),
    "changes": (_is_list_of_text, "changes as a list of at most 50 short texts"),
    "dtype": (_matches("float32|float16|bfloat16"), "'float32', 'bfloat16' or 'float16'"),
    "versions": (_maps_text_to(str), "versions as text, by library"),
}

# What AUTOMATIC1111 calls the schedulers of diffusers; another keeps its class's name.
SAMPLERS = {
    "DDIMScheduler": "DDIM",
    "DEISMultistepScheduler": "DEIS",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "EulerDiscreteScheduler": "Euler",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "KDPM2DiscreteScheduler": "DPM2",
    "LMSDiscreteScheduler": "LMS",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
}


def save_image(
    image: Image.Image,
    path: str | Path | BinaryIO,
    settings: Settings,
    *,
    seconds: float | None = None,
) -> None:
    """Save a picture as PNG, with its settings inside.

    They lie in two text chunks: `parameters`, as AUTOMATIC1111 and others write and read it, and
    in full, as JSON, in `effective-diffusion`.

    Args:
        image: the picture.
        path: where to; its name ends in .png. Or an open binary file.
        settings: what the picture was made with.
        seconds: how long that took, for a chunk of that name.

    Raises:
        ValueError: the name ends otherwise, or the settings are too long to be read again.

    Source: AUTOMATIC1111/stable-diffusion-webui, `create_infotext`.

    Example:
        >>> import io
        >>> png = io.BytesIO()
        >>> save_image(Image.new("RGB", (64, 64)), png, Settings("a knight", seed=7))
        >>> read_settings(png).seed
        7
    """
    if isinstance(path, str | Path) and Path(path).suffix.lower() != ".png":
        raise ValueError(f"Settings travel in PNG files: call it {Path(path).stem}.png.")
    if settings.height is None and settings.width is None and not (set(image.size) - SIZES):
        settings = replace(settings, height=image.height, width=image.width)
    text = json.dumps(asdict(settings))
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"The settings have {len(text):,} characters, more than the {MAX_CHARACTERS:,} that "
            "are read again: shorten the scheduler's config."
        )
    chunks = PngImagePlugin.PngInfo()
    parameters = to_parameters(settings, image.size)
    chunks.add_text("parameters", parameters.encode(errors="replace").decode())
    chunks.add_text(CHUNK, text)
    if seconds is not None:
        chunks.add_text("seconds", f"{seconds:.4f}")
    image.save(
        Path(path).expanduser() if isinstance(path, str) else path, format="PNG", pnginfo=chunks
    )


def read_settings(png: str | Path | bytes | BinaryIO | Image.Image) -> Settings:
    """Read the settings that `save_image` put into a PNG.

    The file may come from anywhere: nothing in it is executed, its pixels are not decoded, and the
    model that it names is not loaded.

    Args:
        png: the file's name, its bytes, an open binary file, or a picture opened from one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no PNG, holds no settings, or they are broken.

    Example:
        >>> read_settings("missing.png")
        Traceback (most recent call last):
        FileNotFoundError: There is no file missing.png: give the name of a PNG picture.
    """
    if isinstance(png, bytes):
        return read_settings(io.BytesIO(png))
    if isinstance(png, str | Path):
        place = Path(png).expanduser()
        if not place.is_file():
            raise FileNotFoundError(f"There is no file {png}: give the name of a PNG picture.")
        with open(place, "rb") as file:
            return read_settings(file)
    text = (
        _check_text(png.info.get(CHUNK), png) if isinstance(png, Image.Image) else _read_chunk(png)
    )
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()  # half a character cannot be shown
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The settings in {_name(png)} are not JSON: it was damaged.") from error
    if not isinstance(data, dict):
        raise ValueError(f"The settings in {_name(png)} are not a table of names and values.")
    names = [field.name for field in fields(Settings)]
    lacking = [name for name in names if name not in data and name not in NEWER]
    if lacking:
        raise ValueError(f"The settings in {_name(png)} lack {', '.join(lacking)}.")
    try:
        return Settings(**{name: data[name] for name in names if name in data})
    except ValueError as error:
        raise ValueError(f"The settings in {_name(png)} cannot be used: {error}") from error


def to_parameters(settings: Settings, size: tuple[int, int]) -> str:
    """Write settings as AUTOMATIC1111 does.

    Args:
        settings: what made the picture.
        size: its width and height, in pixels.

    Source: AUTOMATIC1111/stable-diffusion-webui, `create_infotext` and `infotext_utils.quote`.

    Example:
        >>> print(to_parameters(Settings("a knight", "smiling", seed=7), (128, 128)))
        a knight
        Negative prompt: smiling
        Steps: 20, Sampler: PLMS, CFG scale: 7.5, Seed: 7, Size: 128x128, Model: tiny-portraits
    """
    values = {
        "Steps": settings.num_inference_steps,
        "Sampler": SAMPLERS.get(settings.scheduler, settings.scheduler),
        "CFG scale": settings.guidance_scale,
        "Seed": settings.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": settings.model,
    }
    if settings.versions:
        values["Version"] = ", ".join(f"{key} {value}" for key, value in settings.versions.items())
    lines = [settings.prompt, ", ".join(f"{key}: {_quote(val)}" for key, val in values.items())]
    if settings.negative_prompt:
        lines.insert(1, f"Negative prompt: {settings.negative_prompt}")
    return "\n".join(lines)


def _quote(value: object) -> str:
    """Quote what would be taken for the next value."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search("[,:\n]", text) else text


def _read_chunk(file: BinaryIO) -> str:
    """Return the text of our chunk, without decoding a pixel."""
    size = file.seek(0, 2)
    file.seek(0)
    if size > MAX_BYTES:
        raise ValueError(f"{_name(file)} has {size:,} bytes: a picture has {MAX_BYTES:,} at most.")
    try:
        with Image.open(file, formats=["PNG"]) as image:
            text = image.info.get(CHUNK)
    except Exception as error:  # whatever a damaged or hostile file provokes in Pillow
        raise ValueError(f"{_name(file)} is not a PNG picture that can be read.") from error
    return _check_text(text, file)


def _check_text(text: object, file: object) -> str:
    if not isinstance(text, str):
        raise ValueError(
            f"{_name(file)} holds no settings: only pictures saved by save_image or the "
            "playground do, and many programs drop them when they save a picture again."
        )
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"The settings in {_name(file)} have {len(text):,} characters: no picture needs more "
            f"than {MAX_CHARACTERS:,}, so they are not read."
        )
    return text


def _name(file: object) -> str:
    name = getattr(file, "name", None) or getattr(file, "filename", None)
    return Path(name).name if isinstance(name, str) and name else "This file"
