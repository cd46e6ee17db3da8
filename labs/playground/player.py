"""The playground: a widget that generates images in a thread of its own."""

from __future__ import annotations

import io
import secrets
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import ipywidgets
from PIL import Image

from helpers.grids import explain_black
from labs.images import Settings, SettingsError, read_settings, save_image
from labs.images.describe import describe_settings, differences, to_code
from labs.images.generate import Stopped, check_pipeline, default_size, generate, notices, to_rgb
from labs.playground import view
from labs.playground.chips import make_chips
from labs.playground.preview import fit_preview, preview
from labs.playground.view import Result

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

UPDATE_EVERY = 0.25  # seconds between updates of the progress, at least
STARTED = "# It started from an image, which code cannot hold: notebook 10 shows how.\n"
COLAB_WAITS = "Generating. On Colab, Stop and other cells wait until the images are done."


def playground(
    pipeline: DiffusionPipeline, *, vocabulary: dict[str, Any] | None = None
) -> Playground:
    """Show controls for a pipeline, and the images that it generates.

    Images are generated in a thread, so that Stop works and other cells can run in the meantime.
    Only on Google Colab do both wait until the images are done. The pipeline keeps its scheduler:
    the playground has its own, at first DPMSolverMultistepScheduler if that fits.

    Args:
        pipeline: any of Diffusers' that generates from a prompt alone.
        vocabulary: a judge's; its phrases are shown as buttons that put them into the prompt.

    Raises:
        ValueError: the pipeline starts from an image, or DeepCache is enabled on it.
    """
    return Playground(pipeline, vocabulary or {})


class Playground(ipywidgets.VBox):
    """The widget that `playground` returns.

    Attributes:
        controls: the widgets of the settings, by name.
        buttons: by name; the methods of the same names press them from code.
        upload: the widget that loads a file.
        parts: the HTML of the message, progress, images and code, and of each control's notice.
        strip: the box of the thumbnails.
        results: the images generated so far, oldest first.
        shown: the indices of the results that are shown large: one, or two to compare.
        start: the image to start from while the strength is below 1; None for noise.
    """

    def __init__(self, pipeline: DiffusionPipeline, vocabulary: dict[str, Any]) -> None:
        check_pipeline(pipeline)
        self.pipeline = pipeline
        self.results: list[Result] = []
        self.shown: list[int] = []
        self.start: Image.Image | None = None
        self.controls = view.make_controls(pipeline)
        self.buttons = view.make_buttons()
        self.upload = ipywidgets.FileUpload(accept="image/*", description="Load an image")
        self.upload.layout.width = "auto"
        self.parts = {name: ipywidgets.HTML() for name in (*view.PARTS, *self.controls)}
        self.strip = ipywidgets.Box(layout={"flex_flow": "row wrap"})
        self._run = Run()
        self._run.ended.set()
        self._generating = threading.Lock()  # held by the thread whose turn it is
        self._showing = threading.RLock()  # held while results or messages change
        self._fitted: torch.Tensor | None = None  # for the previews
        for control in self.controls.values():
            control.observe(self._on_change, "value")
        for name, button in self.buttons.items():
            action = getattr(self, name)
            button.on_click(lambda _, action=action: action())
        self.upload.observe(self._on_upload, "value")
        self._say("Ready.")
        self._show_notices()
        chips = make_chips(self.controls["prompt"], vocabulary) if vocabulary else None
        columns = view.lay_out(self, chips)
        super().__init__([view.Frontend(), columns], layout={"width": "100%"})
        self.add_class("playground")

    def __repr__(self) -> str:
        return "The playground: run this cell to use it."

    def generate(self, num_images: int | None = None) -> None:
        """Start to generate what the controls say, instead of what is being generated."""
        if not self.controls["keep_seed"].value:
            self.controls["seed"].value = str(secrets.randbelow(2**32))
        try:
            first = describe_settings(self.pipeline, **self._chosen())
            strength = self.controls["strength"].value
            start = self.start if strength < 1 else None
            if start:
                kind = first.pipeline.replace("Pipeline", "Img2ImgPipeline")
                first = first.replace(pipeline=kind)
            seeds = range(
                first.seed, first.seed + (num_images or self.controls["num_images"].value)
            )
            run = Run([first.replace(seed=seed) for seed in seeds], start, strength)
        except ValueError as error:
            self._say(str(error))
            return
        # There updates reach the page only while the kernel is busy (colabtools issue 3373).
        on_colab = "google.colab" in sys.modules
        with self._showing:
            self._run.stop.set()
            self._run = run
            self.buttons["stop"].disabled = False
            self._say(COLAB_WAITS if on_colab else "Generating.")
        if on_colab:
            self._generate_all(run)
        else:
            threading.Thread(target=self._generate_all, args=(run,), daemon=True).start()

    def nine_seeds(self) -> None:
        """Generate images of this seed and the next eight, to choose from."""
        self.generate(9)

    def start_here(self) -> None:
        """Start from the image that is shown from now on, while the strength is below 1."""
        if self.shown:
            self._start_from(self.results[self.shown[-1]].image)

    def stop(self) -> None:
        """Stop at the end of the current step."""
        self._run.stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being generated, or for this number of seconds."""
        self._run.ended.wait(timeout)

    def load(self, png: str | Path | BinaryIO) -> None:
        """Set the controls to a saved image's settings, and generate it again.

        A model that the file names is not loaded. If the image needs another model, or anything
        else that differs here, a message says so and nothing is generated.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no settings, or damaged ones.
        """
        settings = read_settings(png)
        difference = differences(settings, self.pipeline)
        self._set_controls(settings)
        if difference:
            self._say(difference)
        else:
            self.generate()

    def save(self, path: str | Path) -> None:
        """Save the image that is shown as PNG, with its settings inside.

        Raises:
            ValueError: there is no image yet, or the name does not end in .png.
            OSError: the file cannot be written.
        """
        if not self.shown:
            raise ValueError("There is no image to save yet: generate one.")
        result = self.results[self.shown[-1]]
        save_image(result.image, path, result.settings)

    def bring_back(self) -> None:
        """Set the controls to the settings of the image that is shown."""
        if self.shown:
            self._set_controls(self.results[self.shown[-1]].settings)

    def _on_change(self, _: object) -> None:
        self._show_notices()
        if not self.controls["compare"].value and len(self.shown) > 1:
            self._show_results(self.shown[-1:])

    def _on_upload(self, change: dict[str, Any]) -> None:
        files = change["new"]  # a dict in ipywidgets 7, which Colab has; a tuple since then
        for file in files.values() if isinstance(files, dict) else files:
            content = io.BytesIO(file["content"])
            try:
                self.load(content)
            except ValueError as error:
                self._say(str(error))
                with suppress(Exception):  # Pillow raises many kinds for what is no image
                    self._start_from(to_rgb(Image.open(content)))
                    self._say("It holds no settings to use: it is the image to start from.")
        self.upload.set_trait("value", type(files)())  # so that the same file can be loaded again

    def _choose(self, index: int) -> None:
        """Show a result; while comparing, beside the one that was shown last."""
        others = [other for other in self.shown if other != index]
        self._show_results([*others[-1:], index] if self.controls["compare"].value else [index])

    def _start_from(self, image: Image.Image) -> None:
        self.start = image
        if self.controls["strength"].value == 1:
            self.controls["strength"].value = 0.6
        self._show_notices()

    def _chosen(self) -> dict[str, Any]:
        """Return what the controls say, by the names of the settings."""
        names = self.controls.keys() & Settings.model_fields.keys()
        return {name: self.controls[name].value for name in names}

    def _set_controls(self, settings: Settings) -> None:
        values = dict.fromkeys(("height", "width"), default_size(self.pipeline))
        values |= settings.model_dump(exclude_none=True) | {"seed": str(settings.seed)}
        if settings.scheduler not in self.controls["scheduler"].options:  # it does not fit
            del values["scheduler"]
        for name in values.keys() & self.controls.keys():
            self.controls[name].value = values[name]
        self.controls["keep_seed"].value, self.controls["num_images"].value = True, 1
        self.controls["strength"].value = 1.0

    def _show_notices(self) -> None:
        """Show beside each control what there is to say about its setting."""
        try:
            found = notices(self.pipeline, Settings(**self._chosen()))
        except SettingsError as error:
            found = {error.setting: str(error)}
        if self.controls["strength"].value < 1 and not self.start:
            found["strength"] = "To start from an image, load one, or choose one that is shown."
        for name in self.controls:
            self.parts[name].value = view.status(found.get(name, ""))
            if name == "strength" and self.start and self.controls[name].value < 1:
                found[name] = self.parts[name].value = view.start_figure(self.start)
            self.parts[name].layout.display = None if name in found else "none"

    def _say(self, message: str) -> None:
        self.parts["message"].value = view.status(message)

    def _show_results(self, shown: list[int]) -> None:
        with self._showing:
            self.shown, results = shown, [self.results[index] for index in shown]
            self.parts["images"].value = view.figures(results)
            self.parts["code"].value = view.code(results[-1]) if results else ""
            for name in ("bring_back", "start_here"):
                self.buttons[name].disabled = not shown
            for index, thumbnail in enumerate(self.strip.children):
                mark = "shown: " if index in shown else ""
                seed = self.results[index].settings.seed
                thumbnail.children[1].description = f"{mark}seed {seed}"

    def _add(self, image: Image.Image, settings: Settings, start: Image.Image | None) -> None:
        png = io.BytesIO()
        save_image(image, png, settings)
        code = STARTED if start else to_code(settings, self.pipeline)
        result = Result(png.getvalue(), settings, code)
        with self._showing:
            index = len(self.results)
            self.results.append(result)
            thumbnail = view.make_thumbnail(index, result)
            thumbnail.children[1].on_click(lambda _: self._choose(index))
            self.strip.children = (*self.strip.children, thumbnail)
            self._choose(index)

    def _generate_all(self, run: Run) -> None:
        """Generate one image after the other, so that each can be generated again alone."""
        message, images = "Done.", []
        try:
            with self._generating:
                for number, settings in enumerate(run.todo):
                    if run.stop.is_set():
                        raise Stopped("before the first step")
                    report = partial(self._report, run, number)
                    (image,) = generate(self.pipeline, [settings], report, run.start, run.strength)
                    self._add(image, settings, run.start)
                    images.append(image)
                    message = explain_black(images) or "Done."
        except Stopped as stopped:
            message = f"Stopped {stopped}: that image was not finished, so it is not kept."
        except KeyboardInterrupt:  # on Colab only, as threads are not interrupted
            message = "Interrupted: that image was not finished, so it is not kept."
            raise
        except Exception as error:  # the model and the device can raise any kind
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            message = f"The image could not be generated: {reason}"
        finally:
            with self._showing:
                if self._run is run:  # no other run has taken its place
                    self._say(message)
                    self.parts["progress"].value = ""
                    self.buttons["stop"].disabled = True
                    self._show_results(self.shown)
            run.ended.set()

    def _report(
        self, run: Run, number: int, step: int, steps: int, predict: Callable[[], Any]
    ) -> bool:
        """Show the progress, not too often, and tell whether to go on."""
        now = time.perf_counter()
        if now - run.updated >= UPDATE_EVERY and not run.stop.is_set():
            done = (number + step / steps) / len(run.todo)
            left = (now - run.started) * (1 - done) / done
            text = f"Image {number + 1} of {len(run.todo)}, step {step} of {steps}"
            progress = view.progress_bar(done, f"{text}, about {left:.0f} s left")
            self.parts["progress"].value = progress
            small = self._preview(predict) if self.controls["preview"].value else None
            if small:
                self.parts["images"].value = view.preview_figure(small)
            run.updated = time.perf_counter()
        return not run.stop.is_set()

    def _preview(self, predict: Callable[[], Any]) -> Image.Image | None:
        """Return a preview of the image, or None for a model that has none."""
        try:
            if (latents := predict()) is None:
                return None
            if self._fitted is None:
                self._fitted = fit_preview(self.pipeline.vae)
            return preview(latents, self._fitted)
        except Exception:  # whatever fails here, the image itself is not to be lost
            return None


@dataclass
class Run:
    """One press of Generate: what to generate, how to stop it, and how long it has taken."""

    todo: list[Settings] = field(default_factory=list)
    start: Image.Image | None = None
    strength: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.perf_counter)
    updated: float = float("-inf")  # when its progress was shown last
