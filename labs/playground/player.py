"""The playground itself: one state, the view made from it, and a thread that draws."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import ipywidgets

from labs.images import Settings, read_settings, save_image
from labs.images.describe import differences, to_code
from labs.images.generate import Stopped, fitting_schedulers, generate, notices
from labs.playground.preview import fit_preview, preview
from labs.playground.state import (
    Result,
    State,
    bring_back,
    choose,
    plan,
    set_control,
    take_new_seed,
    take_settings,
    to_result,
    use_seed,
)
from labs.playground.view import View, address

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

SHARE = 0.1  # of the time may go into showing how far the picture is

BLACK = (
    "Done, and all black: either the model's safety checker held the picture back, or float16 "
    "overflowed."
)
COLAB_WAITS = "Drawing. On Colab, Stop and everything else wait until the pictures are done."


def playground(pipeline: DiffusionPipeline) -> Playground:
    """Show controls for a pipeline, and what it draws with them.

    Drawing goes on beside the kernel's main thread, so that it can be stopped and other cells run
    meanwhile; on Google's Colab alone, Stop and other cells wait until the pictures are done. The
    pipeline is left as it is, so the scheduler is chosen here too: at first it is
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
        self._fitted = self._fit_preview()
        self._changing = threading.RLock()  # held while the state changes and is shown
        self._drawing = threading.Lock()  # held while a picture is drawn
        self._stop = threading.Event()
        self._idle = threading.Event()  # set while nothing is drawn or about to be
        self._idle.set()
        self._view = View(schedulers, self._choose)
        self._connect()
        with self._change(controls=True):
            self._take_notice()
        super().__init__([self._view.whole], layout={"width": "100%"})

    def _fit_preview(self) -> torch.Tensor | None:
        """What shows a picture as it forms; None where the encoder's weights are elsewhere."""
        try:
            return fit_preview(self.pipeline.vae)
        except (AttributeError, NotImplementedError, RuntimeError):
            return None

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
            state.message = COLAB_WAITS if _on_colab() else "Drawing."
            self._idle.clear()
        draw_all = partial(self._draw_all, todo, self._stop)
        if _on_colab():
            draw_all()
        else:  # not a child of what runs now: it waits for its turn by itself
            threading.Thread(target=draw_all, name="playground", daemon=True).start()

    def stop(self) -> None:
        """Stop at the end of the step that is being taken."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being drawn, or for so many seconds."""
        self._idle.wait(timeout)  # not for the thread: one that is interrupted seems to have ended

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
            self.state.notices = {getattr(error, "setting", "scheduler"): str(error)}

    def _draw_all(self, todo: list[Settings], stop: threading.Event) -> None:
        """Draw one after the other, each alone, so that each can be made again alone."""
        message = "Done."
        with self._drawing:
            clock = Clock(len(todo))
            try:
                for number, settings in enumerate(todo):
                    if stop.is_set():
                        raise Stopped("before the first step")
                    report = partial(self._report, clock, number, stop)
                    (image,) = generate(self.pipeline, [settings], report)
                    result = to_result(image, settings, to_code(settings, self.pipeline))
                    with self._change() as state:
                        state.results.append(result)
                        choose(state, len(state.results) - 1)
                    message = "Done." if image.getbbox() else BLACK
            except Stopped as stopped:
                message = f"Stopped {stopped}: that picture was not finished, so it is not kept."
            except KeyboardInterrupt:  # on Colab alone: threads are not interrupted
                message = "Interrupted: that picture was not finished, so it is not kept."
                raise
            except Exception as error:  # whatever the model or the device may raise
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                message = f"It could not be drawn ({reason}): change a setting and try again."
            finally:
                with self._change() as state:
                    if self._stop is stop:  # else another drawing has taken its place
                        state.running, state.forming, state.message = False, "", message
                        self._idle.set()

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
                shows = state.show_forming and self._fitted is not None
                latents = foresee() if shows else None
                state.forming = "" if latents is None else address(preview(latents, self._fitted))
            clock.shown()
        return not stop.is_set()


def _on_colab() -> bool:
    """Whether updates reach the page only while the kernel is busy (colabtools issue 3373)."""
    return "google.colab" in sys.modules


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
