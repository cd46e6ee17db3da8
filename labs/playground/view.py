"""The playground's widgets, and the HTML that shows images and messages."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anywidget
import ipywidgets as widgets
from PIL import Image, ImageOps

from helpers.loading import compatible_schedulers
from labs.images import Settings
from labs.images.generate import default_size

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from labs.playground.player import Playground

SCHEDULER = "DPMSolverMultistepScheduler"  # 20 steps are enough for it
THUMBNAIL = 96  # pixels
STYLE = f"""
.playground-thumbnail {{position: relative; overflow: visible; width: {THUMBNAIL + 8}px}}
.playground-thumbnail .widget-html-content {{padding: 4px 4px 2em; line-height: 0}}
.playground-thumbnail > button {{position: absolute; inset: 0; width: 100%; height: 100%;
  padding: 0; background: transparent; display: flex; align-items: flex-end;
  justify-content: center; line-height: 2em; font-size: 80%}}
"""
# JupyterLab, where Ctrl+Enter runs the cell, must not get the key. The event sends the text to
# Python, which ipywidgets otherwise does when the prompt loses the focus.
SHORTCUT = """
function render({ el }) {
  const press = (event) => {
    const playground = el.closest(".playground");
    const text = playground?.contains(event.target) && event.target.closest("textarea");
    if (!text || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    text.dispatchEvent(new Event("change", { bubbles: true }));
    playground.querySelector(".playground-generate").click();
  };
  window.addEventListener("keydown", press, true);
  return () => window.removeEventListener("keydown", press, true);
}
export default { render };
"""
BUTTONS = {
    "generate": ("Generate", "primary", "Generate with these settings: Ctrl+Enter in a prompt"),
    "nine_seeds": ("Nine seeds", "", "Generate this seed and the next eight, to choose from"),
    "stop": ("Stop", "warning", "Stop after the current step"),
    "bring_back": ("Bring settings back", "", "Set the controls to the settings of this image"),
    "start_here": ("Start from this image", "", "Generate from this image instead of from noise"),
}
READY = ("generate", "nine_seeds")  # the others have nothing to act on at first
PARTS = ("message", "progress", "images", "code")


class Frontend(anywidget.AnyWidget):
    """What only the browser can do: the thumbnails' style, and Ctrl+Enter in the prompts."""

    _css = STYLE
    _esm = SHORTCUT


@dataclass(frozen=True)
class Result:
    """A generated image as a PNG with its settings inside, those settings, and code for it."""

    png: bytes = field(repr=False)
    settings: Settings
    code: str = field(repr=False)

    @property
    def image(self) -> Image.Image:
        """The image itself, in RGB."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


def make_controls(pipeline: DiffusionPipeline) -> dict[str, widgets.Widget]:
    """Make a labelled control for each setting, by its name."""
    schedulers = list(compatible_schedulers(pipeline))
    scheduler = SCHEDULER if SCHEDULER in schedulers else type(pipeline.scheduler).__name__
    controls = {
        "prompt": widgets.Textarea("portrait photo of a old warrior chief", rows=3),
        "negative_prompt": widgets.Textarea(description="Negative prompt", rows=2),
        "seed": widgets.Text("0"),  # a seed can be too long for a browser's numbers
        "keep_seed": widgets.Checkbox(True, description="Keep this seed", indent=False),
        "num_inference_steps": widgets.BoundedIntText(20, min=1, max=1000, description="Steps"),
        "guidance_scale": widgets.BoundedFloatText(7.5, step=0.5, description="Guidance scale"),
        "scheduler": widgets.Dropdown(value=scheduler, options=schedulers),
    }
    if size := default_size(pipeline):
        controls["width"] = widgets.BoundedIntText(size, min=8, max=8192, step=8)
        controls["height"] = widgets.BoundedIntText(size, min=8, max=8192, step=8)
    controls["strength"] = widgets.FloatSlider(1.0, min=0.1, max=1.0, step=0.05)
    controls["num_images"] = widgets.BoundedIntText(1, min=1, max=16, description="Images")
    controls["preview"] = widgets.Checkbox(True, description="Show previews", indent=False)
    controls["compare"] = widgets.Checkbox(False, description="Compare two", indent=False)
    for name, control in controls.items():
        control.description = control.description or name.capitalize()
        # Sent when complete: a click on Generate could overtake text that is sent key by key.
        if control.has_trait("continuous_update"):
            control.continuous_update = False
        control.layout.width = "auto"
        control.style.description_width = "8.5em"
    return controls


def make_buttons() -> dict[str, widgets.Button]:
    """Make the buttons, by name; those that have nothing to act on yet are disabled."""
    buttons = {}
    for name, (text, style, tooltip) in BUTTONS.items():
        button = widgets.Button(description=text, button_style=style, tooltip=tooltip)
        button.layout.width, button.disabled = "auto", name not in READY
        button.add_class(f"playground-{name}")
        buttons[name] = button
    return buttons


def make_thumbnail(number: int, result: Result) -> widgets.Box:
    """Make a small image with a button over it, the second child of the box."""
    image = _thumbnail(result.image, "", THUMBNAIL)
    button = widgets.Button(tooltip=f"Show image {number + 1}: {result.settings.prompt}")
    thumbnail = widgets.Box([widgets.HTML(image), button])
    thumbnail.add_class("playground-thumbnail")
    return thumbnail


def lay_out(play: Playground, chips: widgets.Widget | None) -> widgets.Box:
    """Put the controls beside the images, or above them where the page is narrow."""
    controls, buttons, parts = play.controls, play.buttons, play.parts
    settings = [name for name in controls if name != "compare"]
    left = [widget for name in settings for widget in (controls[name], parts[name])]
    left[2:2] = [chips] if chips else []  # below the prompt
    begin = _row(buttons["generate"], buttons["nine_seeds"], buttons["stop"])
    left += [begin, parts["message"]]
    after = _row(buttons["bring_back"], buttons["start_here"], play.upload, controls["compare"])
    right = [parts["progress"], parts["images"], after, play.strip, parts["code"]]
    columns = [
        widgets.VBox(left, layout={"flex": "1 1 280px", "max_width": "34em"}),
        widgets.VBox(right, layout={"flex": "2 1 280px"}),
    ]
    return widgets.Box(columns, layout={"flex_flow": "row wrap", "grid_gap": "1em"})


def _row(*children: widgets.Widget) -> widgets.Box:
    return widgets.Box(children, layout={"flex_flow": "row wrap", "align_items": "center"})


def _png_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _thumbnail(image: Image.Image, alt: str, width: int) -> str:
    url = _png_url(ImageOps.fit(image, (THUMBNAIL, THUMBNAIL))._repr_png_())
    return f'<img src="{url}" alt="{alt}" width="{width}">'


def status(text: str) -> str:
    """Write a sentence that a screen reader reads out when it changes."""
    return f'<span role="status">{html.escape(text)}</span>' if text else ""


def progress_bar(done: float, text: str) -> str:
    """Write a bar for a share from 0 to 1, with text below it."""
    bar = f'<progress max="1" value="{done:.3f}" aria-label="Generated" style="width: 100%">'
    return f"{bar}</progress><br>{html.escape(text)}"


def code(result: Result) -> str:
    """Write the code for a result, folded."""
    pre = '<pre tabindex="0" style="overflow-x: auto; line-height: 1.4">'
    return f"<details><summary>Show code</summary>{pre}{html.escape(result.code)}</pre></details>"


def figures(results: Sequence[Result]) -> str:
    """Write results as figures side by side, each with its settings and a link to save it."""
    return _side_by_side(*map(_result_figure, results))


def preview_figure(preview: Image.Image) -> str:
    """Write the preview of an image that is being generated as a figure."""
    text = "A preview of the image."
    return _side_by_side(_figure(_png_url(preview._repr_png_()), text, text))


def start_figure(image: Image.Image) -> str:
    """Write the image to start from, small."""
    return _thumbnail(image, "The image to start from.", THUMBNAIL // 2)


def _result_figure(result: Result) -> str:
    settings, url = result.settings, _png_url(result.png)
    lines = [settings.prompt]
    if settings.negative_prompt:
        lines.append(f"negative prompt: {settings.negative_prompt}")
    lines.append(
        f"seed {settings.seed}, {settings.num_inference_steps} steps, "
        f"guidance scale {settings.guidance_scale:g}, {settings.scheduler}"
    )
    link = (
        f'<a download="seed-{settings.seed}.png" href="{url}" '
        'style="text-decoration: underline">Save as PNG</a>'
    )
    alt = f"Generated with seed {settings.seed} for the prompt: {settings.prompt}."
    return _figure(url, alt, "<br>".join([*map(html.escape, lines), link]))


def _figure(url: str, alt: str, caption: str) -> str:
    return (
        '<figure style="margin: 0; flex: 1 1 240px; max-width: 384px">'
        f'<img src="{url}" alt="{html.escape(alt)}" style="width: 100%; height: auto">'
        f'<figcaption style="line-height: 1.4; overflow-wrap: anywhere">{caption}</figcaption>'
        "</figure>"
    )


def _side_by_side(*figures: str) -> str:
    return f'<div style="display: flex; flex-wrap: wrap; gap: 1em">{"".join(figures)}</div>'
