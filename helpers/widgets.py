"""The playground: prompts and seeds under your fingers, as a widget."""

from __future__ import annotations

import base64
import html
import io
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import ipywidgets
from PIL import Image

from helpers.drawing import (
    Stopped,
    describe_settings,
    differences,
    draw,
    fit_preview,
    fitting_schedulers,
    notices,
    preview,
    to_code,
)
from helpers.settings import Settings, read_settings, save_image

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

THUMBNAIL = 96  # pixels
SHARE = 0.1  # of the time may go into showing how far the picture is
BLACK = (
    "Done, and all black: either the model's safety checker held the picture back, or float16 "
    "overflowed."
)


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


def playground(pipeline: DiffusionPipeline) -> Playground:
    """Show controls for a pipeline, and what it draws with them.

    Drawing goes on beside the kernel's main thread, so that it can be stopped and other cells run
    meanwhile. The pipeline is left as it is, so the scheduler is chosen here too: at first it is
    DPMSolverMultistepScheduler, which draws well in 20 steps, or the pipeline's own if that does
    not fit.

    Args:
        pipeline: any whose parts are those of Stable Diffusion.

    Returns:
        The widget. Its `results` are the pictures drawn so far; `load` makes a saved picture
        again, `save` saves the one that is shown, `generate`, `stop` and `wait` are its buttons.

    Example:
        >>> from helpers import load_pipeline
        >>> play = playground(load_pipeline("tiny-portraits", device="cpu"))
        >>> play.state.num_inference_steps = 2
        >>> play.generate()
        >>> play.wait()
        >>> play.results[0].settings.seed, play.results[0].image.size
        (0, (128, 128))
    """
    return Playground(pipeline)


class Playground(ipywidgets.VBox):
    """The widget that `playground` returns: one state, the view drawn from it, and a thread.

    Example:
        >>> from helpers import load_pipeline
        >>> Playground(load_pipeline("tiny-portraits", device="cpu"))
        The playground: run this cell to use it.
    """

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline
        self.state = State()
        schedulers = fitting_schedulers(pipeline)
        if self.state.scheduler not in schedulers:
            self.state.scheduler = type(pipeline.scheduler).__name__
        self._fitted = fit_preview(pipeline.vae)
        self._changing = threading.RLock()  # held while the state changes and is shown
        self._drawing = threading.Lock()  # held while a picture is drawn
        self._stop = threading.Event()
        self._thread = threading.Thread()
        self._view = View(schedulers, self._choose)
        self._connect()
        with self._change(controls=True):
            self._take_notice()
        super().__init__([self._view.whole], layout={"width": "100%"})

    def __repr__(self) -> str:
        return "The playground: run this cell to use it."

    @property
    def results(self) -> list[Result]:
        """The pictures drawn so far, oldest first."""
        return list(self.state.results)

    def generate(self) -> None:
        """Start to draw what the controls say, in place of what is being drawn."""
        with self._change(controls=True) as state:
            if not state.keep_seed:
                take_new_seed(state)
            try:
                todo = plan(state, self.pipeline)
            except ValueError as error:
                state.message = str(error)
                return
            self._stop.set()
            self._stop = threading.Event()
            state.running, state.done, state.progress = True, 0, ""
            state.message = "Drawing."
        # Not a child of what runs now: it waits for its turn by itself.
        self._thread = threading.Thread(
            target=self._draw_all, args=(todo, self._stop), name="playground", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop at the end of the step that is being taken."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being drawn, or for so many seconds."""
        if self._thread.ident:
            self._thread.join(timeout)

    def load(self, png: str | Path | BinaryIO) -> None:
        """Bring a saved picture's settings back, and draw it again.

        A model that the file names is not loaded. If the picture needs another one, or anything
        else that this pipeline has not, that is said and nothing is drawn.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no settings, broken ones, or a scheduler that does not fit.
        """
        settings = read_settings(png)
        difference = differences(settings, self.pipeline)
        with self._change(controls=True) as state:
            take_settings(state, settings)
            state.message = difference
            self._take_notice()
        if not difference:
            self.generate()

    def save(self, path: str | Path) -> None:
        """Save the picture that is shown, with its settings inside.

        Raises:
            ValueError: there is no picture yet, or the name does not end in .png.
        """
        if not self.state.shown:
            raise ValueError("There is no picture to save yet: generate one.")
        result = self.state.results[self.state.shown[-1]]
        save_image(result.image, path, result.settings)

    @contextmanager
    def _change(self, controls: bool = False) -> Iterator[State]:
        """Change the state, then show it; the controls too, but only from the main thread.

        What somebody types reaches the kernel a little later, so a drawing thread that set the
        controls would undo it.
        """
        with self._changing:
            try:
                yield self.state
            finally:
                self._view.show(self.state)
                if controls:
                    self._view.show_controls(self.state)

    def _connect(self) -> None:
        for name, control in self._view.controls.items():
            control.observe(partial(self._set, name), "value")
        actions = {
            "generate": self.generate,
            "stop": self.stop,
            "new_seed": partial(self._act, take_new_seed),
            "bring_back": partial(self._act, bring_back),
            "use_seed": partial(self._act, use_seed),
        }
        for name, action in actions.items():
            self._view.buttons[name].on_click(lambda _, action=action: action())
        self._view.upload.observe(self._load_upload, "value")

    def _set(self, name: str, change: dict[str, Any]) -> None:
        with self._change() as state:
            set_control(state, name, change["new"])
            self._take_notice()

    def _act(self, action: Callable[[State], None]) -> None:
        with self._change(controls=True) as state:
            action(state)
            self._take_notice()

    def _choose(self, index: int) -> None:
        with self._change() as state:
            choose(state, index)

    def _load_upload(self, change: dict[str, Any]) -> None:
        files = change["new"]
        # a dict in ipywidgets 7, which Colab keeps; a tuple since
        for file in files.values() if isinstance(files, dict) else files:
            try:
                self.load(io.BytesIO(file["content"]))
            except ValueError as error:
                with self._change() as state:
                    state.message = str(error)
        # emptied, so that the same file can be loaded again
        self._view.upload.set_trait("value", type(files)())

    def _take_notice(self) -> None:
        try:
            (settings, *_) = plan(self.state, self.pipeline)
            self.state.notices = notices(self.pipeline, settings)
        except ValueError as error:
            name = str(error).split()[0]  # of the setting that is wrong
            self.state.notices = {name: str(error)}

    def _draw_all(self, todo: list[Settings], stop: threading.Event) -> None:
        """Draw one after the other, each alone, so that each can be made again alone."""
        message = "Done."
        with self._drawing:
            clock = Clock(len(todo))
            try:
                for number, settings in enumerate(todo):
                    if stop.is_set():
                        raise Stopped("before the first step")
                    image = draw(
                        self.pipeline, settings, partial(self._report, clock, number, stop)
                    )
                    result = to_result(image, settings, to_code(settings, self.pipeline))
                    with self._change() as state:
                        state.results.append(result)
                        choose(state, len(state.results) - 1)
                    message = "Done." if image.getbbox() else BLACK
            except Stopped as stopped:
                message = f"Stopped {stopped}: that picture was not finished, so it is not kept."
            except Exception as error:  # whatever the model or the device may raise
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                message = f"It could not be drawn ({reason}): change a setting and try again."
            finally:
                with self._change() as state:
                    if self._stop is stop:  # else another drawing has taken its place
                        state.running, state.forming, state.message = False, "", message

    def _report(
        self,
        clock: Clock,
        number: int,
        stop: threading.Event,
        step: int,
        steps: int,
        foresee: Callable[[], torch.Tensor | None],
    ) -> bool:
        """Show how far it is, as often as takes a tenth of the time; tell whether to go on."""
        if clock.is_due() and not stop.is_set():
            with self._change() as state:
                state.done = (number + step / steps) / clock.pictures
                state.progress = (
                    f"Picture {number + 1} of {clock.pictures}, step {step} of {steps}, "
                    f"about {clock.seconds_left(state.done):.0f} s left"
                )
                latents = foresee() if state.show_forming else None
                state.forming = "" if latents is None else address(preview(latents, self._fitted))
            clock.shown()
        return not stop.is_set()


class Clock:
    """Tells how long a drawing will take, and when to show it again.

    Example:
        >>> clock = Clock(pictures=2)
        >>> clock.is_due(), clock.seconds_left(1.0)
        (True, 0.0)
    """

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self._start = self._asked = time.perf_counter()
        self._due = self._start

    def is_due(self) -> bool:
        """Whether so much time went by that showing it again takes no more than its share."""
        self._asked = time.perf_counter()
        return self._asked >= self._due

    def shown(self) -> None:
        """Note that it was shown, and how long that took since it was due."""
        now = time.perf_counter()
        self._due = now + (now - self._asked) * (1 - SHARE) / SHARE

    def seconds_left(self, done: float) -> float:
        """Estimate from the share that is done, from 0 to 1."""
        return (time.perf_counter() - self._start) * (1 - done) / done


# What can be done to the state


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
        seed=int(seed) if seed.isdecimal() and len(seed) <= 20 else seed,
        num_inference_steps=state.num_inference_steps,
        guidance_scale=state.guidance_scale,
        scheduler=state.scheduler,
    )
    return [replace(first, seed=first.seed + number) for number in range(state.num_images)]


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
    for name in ("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "scheduler"):
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
        >>> result = to_result(Image.new("RGB", (8, 8)), Settings("a knight"), "")
        >>> read_settings(io.BytesIO(result.png)) == result.settings
        True
    """
    png = io.BytesIO()
    save_image(image, png, settings)
    return Result(png.getvalue(), settings, code)


# How the state is shown


class View:
    """The widgets, and what they show of a state.

    Args:
        schedulers: the names to choose among.
        choose: called with a result's number when its thumbnail is clicked.

    Example:
        >>> view = View(["PNDMScheduler"], choose=print)
        >>> view.show(State(message="Done."))
        >>> view.parts["message"].value
        '<span role="status">Done.</span>'
    """

    def __init__(self, schedulers: list[str], choose: Callable[[int], None]) -> None:
        self._on_choose = choose
        self.controls = _make_controls(schedulers)
        self.buttons = {name: _make_button(name, *look) for name, look in BUTTONS.items()}
        self.upload = ipywidgets.FileUpload(accept=".png", description="Load a picture")
        self.upload.layout.width = "auto"
        self.parts = {name: ipywidgets.HTML() for name in (*PARTS, *self.controls)}
        self.strip = ipywidgets.Box(layout={"flex_flow": "row wrap"})
        self.whole = self._lay_out()

    def show(self, state: State) -> None:
        """Show all but the controls."""
        for name, part in PARTS.items():
            self.parts[name].value = part(state)
        for name in self.controls:
            text = html.escape(state.notices.get(name, ""))
            self.parts[name].value = f'<span role="status">{text}</span>' if text else ""
            self.parts[name].layout.display = None if text else "none"
        self.buttons["stop"].disabled = not state.running
        for name in ("bring_back", "use_seed"):
            self.buttons[name].disabled = not state.shown
        new = range(len(self.strip.children), len(state.results))
        thumbnails = [self._make_thumbnail(number, state.results[number]) for number in new]
        if thumbnails:
            self.strip.children = (*self.strip.children, *thumbnails)
        for number, thumbnail in enumerate(self.strip.children):
            mark = "shown: " if number in state.shown else ""
            seed = state.results[number].settings.seed
            thumbnail.children[1].description = f"{mark}seed {seed}"

    def show_controls(self, state: State) -> None:
        """Show what the state says in the controls."""
        for name, control in self.controls.items():
            control.value = getattr(state, name)

    def _make_thumbnail(self, number: int, result: Result) -> ipywidgets.Box:
        small = result.image.resize((THUMBNAIL, THUMBNAIL))
        picture = f'<img src="{address(small)}" alt="" width="{THUMBNAIL}" height="{THUMBNAIL}">'
        prompt = result.settings.prompt
        button = ipywidgets.Button(tooltip=f"Show picture {number + 1}: {prompt}")
        button.on_click(lambda _: self._on_choose(number))
        thumbnail = ipywidgets.Box([ipywidgets.HTML(picture), button])
        thumbnail.add_class("playground-thumbnail")
        return thumbnail

    def _lay_out(self) -> ipywidgets.VBox:
        """Put the controls beside the pictures, or above them where the page is narrow."""
        controls = [
            widget
            for name, control in self.controls.items()
            if name != "comparing"
            for widget in (control, self.parts[name])
        ]
        button = self.buttons
        start = _row(button["generate"], button["stop"], button["new_seed"])
        after = _row(
            button["bring_back"], button["use_seed"], self.upload, self.controls["comparing"]
        )
        part = self.parts
        left = ipywidgets.VBox([*controls, start, part["message"]], layout={"flex": "1 1 280px"})
        right = ipywidgets.VBox(
            [part["progress"], part["pictures"], after, self.strip, part["code"]],
            layout={"flex": "2 1 280px"},
        )
        left.layout.max_width = "34em"
        columns = ipywidgets.Box([left, right], layout={"flex_flow": "row wrap", "grid_gap": "1em"})
        return ipywidgets.VBox([ipywidgets.HTML(STYLE), columns])


STYLE = f"""<style>
.playground-thumbnail {{position: relative; overflow: visible; width: {THUMBNAIL + 8}px}}
.playground-thumbnail .widget-html-content {{padding: 4px 4px 2em; line-height: 0}}
.playground-thumbnail > button {{position: absolute; inset: 0; width: 100%; height: 100%;
  padding: 0; background: transparent; display: flex; align-items: flex-end;
  justify-content: center; line-height: 2em; font-size: 80%}}
</style>"""

BUTTONS = {
    "generate": ("Generate", "primary", "Draw with these settings"),
    "stop": ("Stop", "warning", "Stop after the step that is being taken"),
    "new_seed": ("New seed", "", "Choose another seed by chance"),
    "bring_back": ("Bring settings back", "", "Set the controls to what made the picture shown"),
    "use_seed": ("Use its seed", "", "Set the seed to that of the picture shown"),
}


def _make_button(name: str, text: str, style: str, tooltip: str) -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, button_style=style, tooltip=tooltip)
    button.layout.width = "auto"
    return button


def _make_controls(schedulers: list[str]) -> dict[str, ipywidgets.Widget]:
    """Make a control for each setting; each has its label, and takes the keyboard."""
    controls = {
        "prompt": ipywidgets.Textarea(description="Prompt", rows=4),
        "negative_prompt": ipywidgets.Textarea(description="Negative prompt", rows=2),
        "seed": ipywidgets.Text(description="Seed"),
        "keep_seed": ipywidgets.Checkbox(description="Keep this seed", indent=False),
        "num_inference_steps": ipywidgets.BoundedIntText(20, 1, 1000, description="Steps"),
        "guidance_scale": ipywidgets.BoundedFloatText(
            7.5, min=0, max=100, step=0.5, description="Guidance scale"
        ),
        "scheduler": ipywidgets.Dropdown(options=schedulers, description="Scheduler"),
        "num_images": ipywidgets.BoundedIntText(1, 1, 16, description="Images"),
        "show_forming": ipywidgets.Checkbox(
            description="Show the picture as it forms", indent=False
        ),
        "comparing": ipywidgets.Checkbox(description="Compare two", indent=False),
    }
    for control in controls.values():
        control.layout.width = "auto"
        control.style.description_width = "8.5em"
    return controls


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.Box:
    return ipywidgets.Box(widgets, layout={"flex_flow": "row wrap", "align_items": "center"})


def address(image: Image.Image) -> str:
    """Write a picture as an address that holds its data, for a page to show.

    Example:
        >>> address(Image.new("RGB", (8, 8)))[:22]
        'data:image/png;base64,'
    """
    png = io.BytesIO()
    image.save(png, format="PNG")
    return _address(png.getvalue())


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _progress(state: State) -> str:
    if not state.running:
        return ""
    bar = f'<progress max="1" value="{state.done:.3f}" aria-label="Drawn" style="width: 100%">'
    return f"{bar}</progress><br>{html.escape(state.progress)}"


def _pictures(state: State) -> str:
    """Write the pictures that are shown, or the one that is forming, as figures side by side."""
    if state.forming:
        text = "The picture as it forms."
        figures = [_write_figure(state.forming, text, text)]
    else:
        figures = [_figure(state.results[number]) for number in state.shown]
    return f'<div style="display: flex; flex-wrap: wrap; gap: 1em">{"".join(figures)}</div>'


def _figure(result: Result) -> str:
    settings = result.settings
    lines = [
        settings.prompt,
        f"without: {settings.negative_prompt}" if settings.negative_prompt else "",
        f"seed {settings.seed}, {settings.num_inference_steps} steps, "
        f"guidance {settings.guidance_scale:g}, {settings.scheduler}",
    ]
    caption = "<br>".join(html.escape(line) for line in lines if line)
    save = (
        f'<a download="seed-{settings.seed}.png" href="{_address(result.png)}" '
        'style="text-decoration: underline">Save as PNG</a>'
    )
    alt = f"Drawn with seed {settings.seed} for the prompt: {settings.prompt}."
    return _write_figure(_address(result.png), alt, f"{caption}<br>{save}")


def _write_figure(source: str, alt: str, caption: str) -> str:
    return (
        '<figure style="margin: 0; flex: 1 1 240px; max-width: 384px">'
        f'<img src="{source}" alt="{html.escape(alt)}" style="width: 100%; height: auto">'
        f'<figcaption style="line-height: 1.4; overflow-wrap: anywhere">{caption}</figcaption>'
        "</figure>"
    )


def _code(state: State) -> str:
    if not state.shown:
        return ""
    code = html.escape(state.results[state.shown[-1]].code)
    pre = f'<pre tabindex="0" style="overflow-x: auto; line-height: 1.4">{code}</pre>'
    return f"<details><summary>Show code</summary>{pre}</details>"


def _message(state: State) -> str:
    return f'<span role="status">{html.escape(state.message)}</span>'


# What is shown beside the controls, each part made of the state alone.
PARTS: dict[str, Callable[[State], str]] = {
    "progress": _progress,
    "pictures": _pictures,
    "code": _code,
    "message": _message,
}
