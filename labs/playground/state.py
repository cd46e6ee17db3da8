"""All that the playground knows, and what can be done to it."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from labs.images import Settings, save_image
from labs.images.describe import describe_settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


TAKEN = ("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "scheduler",
         "height", "width")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A finished picture: its PNG, with the settings inside, those settings, and code for it.

    Example:
        >>> Result(b"", Settings("a knight", seed=7)).settings.seed
        7
    """

    png: bytes = field(repr=False)
    settings: Settings
    code: str = field(repr=False, default="")

    @property
    def image(self) -> Image.Image:
        """The picture itself."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


@dataclass
class State:
    """All that the playground knows; what it shows follows from this alone.

    Example:
        >>> State(seed="7").keep_seed
        True
    """

    # what the controls say
    prompt: str = "portrait photo of a old warrior chief"
    negative_prompt: str = ""
    seed: str = "0"  # text: a browser's numbers are too short for a seed
    keep_seed: bool = True
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    scheduler: str = "DPMSolverMultistepScheduler"  # so few steps are enough for it
    num_images: int = 1
    show_forming: bool = True
    comparing: bool = False
    # what there is to see
    results: list[Result] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)  # one result, or the two compared
    notices: dict[str, str] = field(default_factory=dict)
    running: bool = False
    done: float = 0  # of all that was asked for, from 0 to 1
    progress: str = ""
    forming: str = ""  # the picture as it forms, as the address of its data
    message: str = "Ready."
    # of the picture: no control sets them, one that is loaded does
    height: int | None = None
    width: int | None = None


def plan(state: State, pipeline: DiffusionPipeline) -> list[Settings]:
    """Return the settings of each picture that the controls ask for, seed after seed.

    Raises:
        ValueError: a control holds what cannot be drawn.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> [one.seed for one in plan(State(seed="7", num_images=3), pipeline)]
        [7, 8, 9]
    """
    seed = state.seed.strip()
    first = describe_settings(
        pipeline,
        state.prompt,
        negative_prompt=state.negative_prompt,
        seed=int(seed) if seed.isdecimal() and len(seed) <= 20 else seed,  # type: ignore[arg-type]
        num_inference_steps=state.num_inference_steps,
        guidance_scale=state.guidance_scale,
        scheduler=state.scheduler,
        height=state.height,
        width=state.width,
    )
    return [first.replace(seed=first.seed + number) for number in range(state.num_images)]


def set_control(state: State, name: str, value: object) -> None:
    """Note what a control says; one result is shown unless two are compared.

    Example:
        >>> state = State(comparing=True, shown=[0, 3])
        >>> set_control(state, "comparing", False)
        >>> state.shown
        [3]
    """
    setattr(state, name, value)
    if not state.comparing:
        state.shown = state.shown[-1:]


def take_settings(state: State, settings: Settings) -> None:
    """Set the controls to what made a picture, and to that one picture.

    Example:
        >>> state = State(num_images=4)
        >>> take_settings(state, Settings("a knight", seed=7))
        >>> state.prompt, state.seed, state.num_images
        ('a knight', '7', 1)
    """
    for name in TAKEN:
        setattr(state, name, getattr(settings, name))
    state.seed, state.keep_seed, state.num_images = str(settings.seed), True, 1


def bring_back(state: State) -> None:
    """Set the controls to what made the picture that is shown.

    Example:
        >>> state = State(results=[Result(b"", Settings("a knight"))], shown=[0])
        >>> bring_back(state)
        >>> state.prompt
        'a knight'
    """
    take_settings(state, state.results[state.shown[-1]].settings)


def use_seed(state: State) -> None:
    """Set the seed, and only that, to that of the picture that is shown.

    Example:
        >>> state = State(results=[Result(b"", Settings("a knight", seed=7))], shown=[0])
        >>> use_seed(state)
        >>> state.seed, state.prompt
        ('7', 'portrait photo of a old warrior chief')
    """
    state.seed, state.keep_seed = str(state.results[state.shown[-1]].settings.seed), True


def take_new_seed(state: State) -> None:
    """Set the seed to another, by chance.

    Example:
        >>> state = State()
        >>> take_new_seed(state)
        >>> 0 <= int(state.seed) < 2**32
        True
    """
    state.seed = str(secrets.randbelow(2**32))


def choose(state: State, index: int) -> None:
    """Show a result; while comparing, beside the one that is shown.

    Example:
        >>> state = State(shown=[0], comparing=True)
        >>> choose(state, 3)
        >>> state.shown
        [0, 3]
    """
    others = [one for one in state.shown if one != index] if state.comparing else []
    state.shown = [*others[-1:], index]


def to_result(image: Image.Image, settings: Settings, code: str) -> Result:
    """Keep a picture as the PNG that is saved.

    Example:
        >>> from labs.images import read_settings
        >>> result = to_result(Image.new("RGB", (8, 8)), Settings("a knight"), "")
        >>> read_settings(result.png).prompt, result.settings.prompt
        ('a knight', 'a knight')
    """
    png = io.BytesIO()
    save_image(image, png, settings)
    return Result(png.getvalue(), settings, code)
