"""How the playground shows its state: its widgets, and the pieces of the page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable

import ipywidgets
from PIL import Image

from labs.playground.state import Result, State

THUMBNAIL = 96  # pixels


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
        # Told of every key, the page holds some back while the kernel is busy, but no click: what
        # is typed in a hurry would be drawn by half.
        if control.has_trait("continuous_update"):
            control.continuous_update = False
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
