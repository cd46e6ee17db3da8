"""Portraits of invented, storybook characters, drawn from a specification with NumPy and Pillow.

A `Spec` names what a caption can name; `draw` turns it into a picture. Everything a caption does
not name (skin, hair, jitter, scenery) comes from the specification's seed, so the same
specification is always the same picture.

The canvas runs from -1 to 1 on both axes, y downwards, with the head filling the middle. A layer is
a mask with a colour: blurring the mask gives a height, the height gives normals, and the normals
are lit; so flat shapes look round.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

SIZE = 128  # pixels, the side of a finished picture
SCALE = 3  # masks are drawn this much larger and reduced: antialiasing

# Each attribute and its values; captions.py says how a prompt names them.
VALUES: dict[str, tuple[str, ...]] = {
    "subject": (
        "warrior chief", "knight", "queen", "wizard", "jester", "pirate", "ranger", "astronaut",
    ),
    "age": ("young", "adult", "old", "oldest"),
    "make_up": ("none", "panther", "stripes", "star"),
    "figure": (
        "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "black",
    ),
    "background": (
        "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "black",
    ),
    "view": ("front", "side"),
    "gaze": ("camera", "away"),
    "mood": ("serious", "smiling"),
    "lens": ("50mm", "wide"),
    "light": ("soft", "rim"),
    "style": ("photo", "oil", "sketch", "watercolour", "comic"),
}  # fmt: skip

DIRECTIONS = ("left", "right")  # where a profile faces; no caption says it

Colour = tuple[float, float, float] | np.ndarray
Shapes = Sequence[ArrayLike]  # outlines or lines, each (n, 2) in canvas units

COLOURS = {
    "red": (0.80, 0.13, 0.14),
    "orange": (0.95, 0.50, 0.10),
    "yellow": (0.97, 0.83, 0.22),
    "green": (0.17, 0.58, 0.26),
    "teal": (0.10, 0.66, 0.66),
    "blue": (0.15, 0.32, 0.82),
    "purple": (0.47, 0.20, 0.68),
    "pink": (0.96, 0.53, 0.71),
    "white": (0.95, 0.95, 0.94),
    "black": (0.13, 0.13, 0.16),
}
SKINS = [(0.98, 0.82, 0.70), (0.91, 0.70, 0.54), (0.78, 0.56, 0.40), (0.60, 0.40, 0.28),
         (0.46, 0.31, 0.23)]  # fmt: skip
HAIRS = {  # hair tells the age at a glance
    "young": [(0.72, 0.34, 0.12), (0.90, 0.70, 0.34)],
    "adult": [(0.10, 0.08, 0.08), (0.27, 0.15, 0.09)],
    "old": [(0.56, 0.56, 0.59)],
    "oldest": [(0.96, 0.96, 0.95)],
}
GOLD, STEEL, BONE = (0.95, 0.75, 0.26), (0.66, 0.70, 0.76), (0.93, 0.88, 0.76)
LEATHER, CREAM, INK = (0.30, 0.20, 0.15), (0.97, 0.93, 0.82), (0.08, 0.07, 0.09)


@dataclass(frozen=True)
class Spec:
    """What one portrait shows: a value of `VALUES` for each attribute, and the seed of the rest.

    >>> Spec(subject="queen", figure="blue", background="red").age
    'adult'
    """

    subject: str = "warrior chief"
    age: str = "adult"
    make_up: str = "none"
    figure: str = "blue"
    background: str = "red"
    view: str = "front"
    gaze: str = "camera"
    mood: str = "serious"
    lens: str = "50mm"
    light: str = "soft"
    style: str = "photo"
    direction: str = "right"
    seed: int = 0

    def __post_init__(self) -> None:
        for attribute, values in (VALUES | {"direction": DIRECTIONS}).items():
            if (value := getattr(self, attribute)) not in values:
                raise ValueError(f"{attribute} {value!r} is none of {', '.join(values)}.")
        if self.figure == self.background:
            raise ValueError("Figure and background need two different colours.")


def random_spec(rng: np.random.Generator, seed: int = 0) -> Spec:
    """A specification with every attribute drawn uniformly, figure and background different.

    >>> random_spec(np.random.default_rng(0)) == random_spec(np.random.default_rng(0))
    True
    """
    values = {name: str(rng.choice(options)) for name, options in VALUES.items()}
    values["direction"] = DIRECTIONS[np.random.default_rng([1, seed]).integers(2)]
    figure, background = rng.choice(VALUES["figure"], size=2, replace=False)
    return Spec(**values | {"figure": str(figure), "background": str(background)}, seed=seed)


# --- the canvas ---------------------------------------------------------------------------------


@dataclass
class Canvas:
    """The picture in the making. Arrays are (SIZE, SIZE[, 3]) float32 in [0, 1]."""

    spec: Spec
    image: np.ndarray
    lines: np.ndarray = field(default_factory=lambda: np.zeros((SIZE, SIZE), np.float32))
    figure: np.ndarray = field(default_factory=lambda: np.zeros((SIZE, SIZE), np.float32))
    angle: float = 0.0  # radians, the head's tilt
    shift: tuple[float, float] = (0.0, 0.0)  # of the head


def _blur(mask: np.ndarray, radius: float) -> np.ndarray:
    picture = Image.fromarray((mask * 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(radius)
    )
    return np.asarray(picture, np.float32) / 255


def _spline(points: ArrayLike, steps: int = 6) -> np.ndarray:
    """A closed Catmull-Rom curve through `points`, as an (n * steps, 2) polygon."""
    p = np.asarray(points, np.float32)
    before, after, next_after = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None, None]
    curve = (2 * p + (after - before) * t + (2 * before - 5 * p + 4 * after - next_after) * t**2
             + (3 * p - before - 3 * after + next_after) * t**3) / 2  # fmt: skip
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    px, py = rx * np.cos(t), ry * np.sin(t)
    return np.stack([x + c * px - s * py, y + s * px + c * py], 1)


def _star(x: float, y: float, radius: float, points: int = 5, inner: float = 0.45) -> np.ndarray:
    t = np.arange(2 * points) * np.pi / points - np.pi / 2
    r = np.where(np.arange(2 * points) % 2, radius * inner, radius)
    return np.stack([x + r * np.cos(t), y + r * np.sin(t)], 1)


def _place(canvas: Canvas, points: ArrayLike, body: bool) -> np.ndarray:
    """Canvas coordinates to pixels of the enlarged mask; the head is tilted about the neck."""
    p = np.asarray(points, np.float32)
    if not body:
        c, s = np.cos(canvas.angle), np.sin(canvas.angle)
        p = (p - (0, 0.6)) @ np.array([[c, s], [-s, c]]) + (0, 0.6) + canvas.shift
    return (p + 1) * (SIZE * SCALE / 2)


def _mask(
    canvas: Canvas, shapes: Shapes, body: bool = False, width: float | None = None
) -> np.ndarray:
    """The union of polygons, or of open lines of a width, as a mask of (SIZE, SIZE)."""
    picture = Image.new("L", (SIZE * SCALE, SIZE * SCALE))
    pen = ImageDraw.Draw(picture)
    for shape in shapes:
        points = [tuple(p) for p in _place(canvas, shape, body).tolist()]
        if width is None:
            pen.polygon(points, fill=255)
        else:
            pixels = width * SIZE * SCALE / 2
            pen.line(points, fill=255, width=max(1, round(pixels)), joint="curve")
            for x, y in (points[0], points[-1]):
                r = pixels / 2
                pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    return np.asarray(picture.reduce(SCALE), np.float32) / 255


def _shade(mask: np.ndarray, round_px: float, spec: Spec) -> np.ndarray:
    """Light on a layer: (SIZE, SIZE) factors around one, from the blurred mask's normals."""
    height = _blur(mask, round_px)
    gy, gx = np.gradient(height)
    k = 2.2 * round_px
    nz = 1 / np.sqrt(1 + (k * gx) ** 2 + (k * gy) ** 2)
    lambert = np.clip((0.42 * k * gx + 0.55 * k * gy + 0.72) * nz, 0, 1)
    if spec.style == "comic":
        lambert = 0.38 + 0.4 * np.clip((lambert - 0.52) * 9, 0, 1)
    return (0.42 + 0.85 * lambert) if spec.light == "soft" else (0.46 + 0.44 * lambert)


def _layer(canvas: Canvas, shapes: Shapes, colour: Colour, *, round_px: float = 5.0,
           alpha: float = 1.0, body: bool = False, width: float | None = None, line: float = 1.0,
           inside: np.ndarray | None = None, flat: bool = False) -> np.ndarray:  # fmt: skip
    """Paint one lit layer over the canvas and return its mask.

    `inside` clips it to another mask; `flat` paint follows the light already there.
    """
    mask = _mask(canvas, shapes, body, width)
    if inside is not None:
        mask = mask * inside
    colour = np.asarray(colour, np.float32)
    if flat:
        under = canvas.image.max(-1)
        light = np.clip(0.35 + 0.8 * under, 0.3, 1.1)
    else:
        light = _shade(mask, round_px, canvas.spec)
    cover = (mask * alpha)[..., None]
    canvas.image = canvas.image * (1 - cover) + np.clip(light[..., None] * colour, 0, 1) * cover
    if line:
        edge = np.clip(_blur(mask, 0.9) - mask, 0, 1) * 2.0  # just outside the shape
        canvas.lines = np.clip(canvas.lines * (1 - mask) + line * edge, 0, 1)
    if not flat:
        canvas.figure = np.maximum(canvas.figure, mask)
    return mask


def _stroke(canvas: Canvas, lines: Shapes, width: float, strength: float = 0.9,
            colour: Colour = INK, body: bool = False) -> None:  # fmt: skip
    """Dark lines: wrinkles, lids, mouths."""
    mask = _mask(canvas, lines, body, width) * strength
    canvas.image = canvas.image * (1 - mask[..., None]) + np.asarray(colour) * mask[..., None]
    canvas.lines = np.maximum(canvas.lines, 0.8 * mask)


def _glow(
    canvas: Canvas, x: float, y: float, radius: float, colour: Colour, strength: float
) -> None:
    """A soft round patch of colour: rosy cheeks, eye sockets."""
    mask = _blur(_mask(canvas, [_ellipse(x, y, radius, radius * 0.8)]), radius * 16) * strength
    canvas.image = canvas.image * (1 - mask[..., None]) + np.asarray(colour) * mask[..., None]


def _tone(colour: Colour, factor: float) -> np.ndarray:
    """Lighter (factor above one, towards white) or darker (below one)."""
    colour = np.asarray(colour, np.float32)
    return colour * factor if factor <= 1 else colour + (1 - colour) * (factor - 1)


# --- behind and below the head ------------------------------------------------------------------


@functools.cache
def _noise(seed: int, cell: int) -> np.ndarray:
    """Smooth noise in [-1, 1], (SIZE, SIZE), with features `cell` pixels wide."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((SIZE // cell + 2, SIZE // cell + 2)).astype(np.float32)
    side = (SIZE // cell + 2) * cell
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth)[:SIZE, :SIZE] * 2 - 1, -1, 1)


def _background(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    """Bokeh for the 50 mm lens; for the wide angle a sharp landscape, in shades of one colour."""
    colour = np.asarray(COLOURS[spec.background], np.float32)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
    canvas = Canvas(spec, np.ones((SIZE, SIZE, 3), np.float32) * colour)
    if spec.lens == "50mm":
        glow = np.exp(-((x + 0.3) ** 2 + (y + 0.3) ** 2))[..., None]
        canvas.image = canvas.image * (0.78 + 0.3 * glow) + 0.05 * glow
        for _ in range(7):
            disc = _ellipse(rng.uniform(-1, 1), rng.uniform(-1, 0.6), *[rng.uniform(0.1, 0.2)] * 2)
            mask = _blur(_mask(canvas, [disc], body=True), 1.6)[..., None] * 0.5
            canvas.image = canvas.image * (1 - mask) + _tone(colour, 1.42) * mask
        return np.clip(canvas.image, 0, 1)
    canvas.image = _tone(colour, 1.28) * (1 - 0.12 * (y[..., None] + 1)) * np.ones((SIZE, SIZE, 1))
    side = rng.choice([-1, 1])
    sun = _mask(canvas, [_ellipse(side * 0.72, -0.66, 0.17, 0.17)], body=True)[..., None]
    canvas.image = canvas.image * (1 - sun) + _tone(colour, 1.75) * sun
    for base, factor, height in ((0.12, 0.86, 0.55), (0.5, 0.62, 0.5)):
        ridge = [(-1.1, 1.1)]
        for px in np.linspace(-1.1, 1.1, 8):
            ridge.append((px, base - height * rng.random() * (1 if abs(px) > 0.4 else 0.3)))
        mask = _mask(canvas, [[*ridge, (1.1, 1.1)]], body=True)[..., None]
        canvas.image = canvas.image * (1 - mask) + _tone(colour, factor) * mask
    tower = -side * 0.78
    castle = [(tower - 0.13, 0.7), (tower - 0.13, -0.25), (tower - 0.17, -0.25), (tower, -0.6),
              (tower + 0.17, -0.25), (tower + 0.13, -0.25), (tower + 0.13, 0.7)]  # fmt: skip
    mask = _mask(canvas, [castle], body=True)
    canvas.image = canvas.image * (1 - mask[..., None]) + _tone(colour, 0.45) * mask[..., None]
    window = _mask(canvas, [_ellipse(tower, 0.0, 0.035, 0.06)], body=True)[..., None]
    canvas.image = canvas.image * (1 - window) + _tone(colour, 1.75) * window
    canvas.lines = 0.4 * np.clip(_blur(mask, 0.9) - mask, 0, 1)
    return np.clip(canvas.image, 0, 1)


def _armour(canvas: Canvas, colour: np.ndarray) -> None:
    for side in (-1, 1):
        _layer(canvas, [_ellipse(side * 0.66, 0.94, 0.27, 0.17, side * 0.4)], STEEL, body=True)
    _layer(canvas, [[(-0.26, 0.68), (0.26, 0.68), (0.22, 0.82), (-0.22, 0.82)]], STEEL,
           body=True)  # fmt: skip


def _ermine(canvas: Canvas, colour: np.ndarray) -> None:
    collar = [(-0.55, 0.74), (-0.2, 0.66), (0, 0.8), (0.2, 0.66), (0.55, 0.74), (0.3, 0.88),
              (0, 0.97), (-0.3, 0.88)]  # fmt: skip
    _layer(canvas, [_spline(collar)], CREAM, body=True)
    _layer(canvas, [_ellipse(0, 0.9, 0.06, 0.06)], GOLD, round_px=2, body=True)


def _stars(canvas: Canvas, colour: np.ndarray) -> None:
    for x, y in ((-0.5, 0.93), (0.5, 0.93), (0, 0.93)):
        _layer(canvas, [_star(x, y, 0.085)], GOLD, round_px=2, body=True, line=0.4)


def _ruff(canvas: Canvas, colour: np.ndarray) -> None:
    for i, x in enumerate(np.linspace(-0.48, 0.48, 6)):
        tooth = _ellipse(x, 0.82 - 0.1 * abs(x), 0.11, 0.12)
        _layer(canvas, [tooth], CREAM if i % 2 else _tone(colour, 0.7), round_px=3, body=True)


def _lapels(canvas: Canvas, colour: np.ndarray) -> None:
    for side in (-1, 1):
        lapel = [(side * 0.1, 1.05), (side * 0.16, 0.7), (side * 0.42, 0.74),
                 (side * 0.4, 1.05)]  # fmt: skip
        _layer(canvas, [lapel], LEATHER, body=True, round_px=3)


def _clasp(canvas: Canvas, colour: np.ndarray) -> None:
    _layer(canvas, [_ellipse(0, 0.84, 0.09, 0.09)], GOLD, round_px=3, body=True)
    _stroke(canvas, [[(0, 0.92), (0, 1.05)]], 0.02, body=True)


def _suit(canvas: Canvas, colour: np.ndarray) -> None:
    _layer(canvas, [_ellipse(0, 0.8, 0.52, 0.12)], (0.92, 0.93, 0.95), round_px=4, body=True)
    for side in (-1, 1):
        _layer(canvas, [_ellipse(side * 0.62, 0.95, 0.08, 0.05)], GOLD, round_px=2, body=True)


def _necklace(canvas: Canvas, colour: np.ndarray) -> None:
    for x in np.linspace(-0.42, 0.42, 7):
        top = 0.79 + 0.09 * np.cos(x * 2.2)
        tooth = [(x - 0.055, top), (x + 0.055, top), (x, top + 0.15)]
        _layer(canvas, [tooth], BONE, round_px=2, body=True)


COLLARS = {
    "warrior chief": _necklace,
    "knight": _armour,
    "queen": _ermine,
    "wizard": _stars,
    "jester": _ruff,
    "pirate": _lapels,
    "ranger": _clasp,
    "astronaut": _suit,
}


def _body(canvas: Canvas, skin: np.ndarray, colour: np.ndarray) -> None:
    """Neck, shoulders and the collar that goes with the subject."""
    lean = -0.1 if canvas.spec.view == "side" else 0.0
    neck = [(lean - 0.2, 0.35), (lean + 0.2, 0.35), (lean + 0.24, 0.95), (lean - 0.24, 0.95)]
    _layer(canvas, [_spline(neck)], _tone(skin, 0.82), body=True)
    shoulders = [(-0.95, 1.3), (-0.86, 0.93), (-0.5, 0.77), (-0.22, 0.72), (0, 0.84), (0.22, 0.72),
                 (0.5, 0.77), (0.86, 0.93), (0.95, 1.3)]  # fmt: skip
    _layer(canvas, [_spline(shoulders)], colour, round_px=9, body=True)
    COLLARS[canvas.spec.subject](canvas, colour)


# --- the face -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Face:
    """What the seed and the age decide, once for both views."""

    skin: np.ndarray
    hair: np.ndarray
    beard: bool
    paint: np.ndarray
    turn: float  # where the front face looks: -1 or 1 away, 0 at the camera
    eye: float  # eye size, 1 for an adult
    chin: float  # y of the chin
    hair_length: float


def _face(spec: Spec, rng: np.random.Generator) -> Face:
    hair = HAIRS[spec.age][rng.integers(2) % len(HAIRS[spec.age])]
    bearded = spec.subject in ("warrior chief", "knight", "wizard", "pirate")
    often = {"young": 0.0, "adult": 0.4, "old": 0.75, "oldest": 1.0}[spec.age]
    return Face(
        skin=np.asarray(SKINS[rng.integers(len(SKINS))], np.float32),
        hair=np.asarray(hair, np.float32),
        beard=bool(bearded and rng.random() < often),
        paint=np.asarray(COLOURS[spec.figure], np.float32),
        turn=float(rng.choice([-1, 1])) if spec.gaze == "away" else 0.0,
        eye=1.28 if spec.age == "young" else 1.0,
        chin=0.50 if spec.age == "young" else 0.62,
        hair_length=float(rng.choice([0.35, 0.62])),
    )


def _eye(canvas: Canvas, x: float, y: float, face: Face, look: float, width: float = 0.135) -> None:
    """Eyeball, iris at `look` (-1 to 1 across the eye), lid and brow, with the mood in them."""
    spec = canvas.spec
    serious = spec.mood == "serious"
    w, h = width * face.eye, (0.072 if serious else 0.092) * face.eye
    _glow(canvas, x, y, w * 1.25, _tone(face.skin, 0.6), 0.3)
    ball = _mask(canvas, [_ellipse(x, y, w, h)])
    canvas.image = canvas.image * (1 - ball[..., None]) + 0.97 * ball[..., None]
    iris_x, iris_y = x + look * w * 0.62, y - (0.02 if look else 0.0)
    for radius, colour in ((0.084, (0.22, 0.13, 0.08)), (0.045, (0.02, 0.02, 0.03))):
        iris = _mask(canvas, [_ellipse(iris_x, iris_y, radius * face.eye, radius * face.eye)])
        iris = (iris * ball)[..., None]
        canvas.image = canvas.image * (1 - iris) + np.asarray(colour) * iris
    glint = _ellipse(iris_x - 0.03, iris_y - 0.03, 0.022, 0.022)
    glint = (_mask(canvas, [glint]) * ball)[..., None]
    canvas.image = canvas.image * (1 - glint) + glint
    lid = [(x + w * u, y - h * np.sqrt(max(0.0, 1 - u * u)) - 0.008) for u in np.linspace(-1, 1, 9)]
    _stroke(canvas, [lid], 0.034)


def _brow(canvas: Canvas, x: float, y: float, inner: float, face: Face) -> None:
    """A brow over the eye at (x, y); `inner` is the side (-1, 1) of the nose."""
    spec = canvas.spec
    tilt = 0.03 if spec.mood == "serious" else -0.035
    arch = 0.0 if spec.mood == "serious" else 0.06
    lift = 0.135 if spec.mood == "serious" else 0.19
    bushy = {"young": 0.042, "adult": 0.058, "old": 0.07, "oldest": 0.1}[spec.age]
    points = [(x + inner * u * 0.16, y - lift * face.eye**0.5 + tilt * u - arch * (1 - u * u))
              for u in np.linspace(-1, 1, 7)]  # fmt: skip
    colour = _tone(face.hair, 0.75) if spec.age in ("young", "adult") else face.hair
    _layer(canvas, [points], colour, width=bushy, round_px=2, line=0.5)


def _mouth(canvas: Canvas, x: float, y: float, width: float, face: Face) -> None:
    if canvas.spec.mood == "smiling":
        lips = [(x + width * u, y - 0.03 + 0.02 * u * u) for u in np.linspace(-1, 1, 7)]
        lips += [(x + width * u, y - 0.01 + 0.125 * (1 - u * u)) for u in np.linspace(1, -1, 9)]
        _layer(canvas, [lips], 0.3 * face.skin + 0.7 * np.array((0.46, 0.15, 0.14)), round_px=2)
        teeth = [(x + 0.8 * width * u, y - 0.02) for u in (-1, 1)]
        teeth += [(x + 0.8 * width * u, y + 0.05 * (1 - u * u)) for u in np.linspace(1, -1, 7)]
        _layer(canvas, [teeth], (0.99, 0.98, 0.95), round_px=1, line=0)
        for side in (-1, 1):
            corner = [(x + side * width * 1.02, y - 0.06), (x + side * width * 1.12, y + 0.0)]
            _stroke(canvas, [corner], 0.028, 0.7, _tone(face.skin, 0.4))
    else:
        lip = [(x + 0.85 * width * u, y + 0.018 * u * u) for u in np.linspace(-1, 1, 9)]
        lower = [(px, py + 0.045) for px, py in lip[2:-2]]
        red = 0.65 * _tone(face.skin, 0.78) + 0.35 * np.array((0.75, 0.34, 0.32))
        _layer(canvas, [lip], red, width=0.07, round_px=2, line=0.3)
        _stroke(canvas, [lip], 0.026, 0.85, (0.25, 0.09, 0.08))
        _stroke(canvas, [lower], 0.02, 0.4, _tone(face.skin, 0.5))


def _blush(face: Face) -> np.ndarray:
    """Rosy cheeks, on any skin."""
    return 0.55 * face.skin + 0.45 * np.array((0.96, 0.36, 0.36))


def _wrinkles(canvas: Canvas, face: Face, lines: dict[str, list]) -> None:
    """The folds that come with an age: `lines` names them from the first to come to the last."""
    ages = {"young": [], "adult": ["cheek"], "old": ["cheek", "brow", "bag"],
            "oldest": ["cheek", "brow", "bag", "deep"]}[canvas.spec.age]  # fmt: skip
    strength = 0.8 if canvas.spec.age == "oldest" else 0.6
    for name in ages:
        _stroke(canvas, lines[name], 0.026, strength, _tone(face.skin, 0.42))


def _paint(canvas: Canvas, shapes: Shapes, face: Face, inside: np.ndarray) -> None:
    """Face paint in the figure's colour, edged so that it shows on every skin."""
    edge = np.asarray((0.97, 0.95, 0.9) if face.paint.mean() < 0.6 else INK)
    halo = np.clip(_blur(_mask(canvas, shapes), 1.2) * 2.2, 0, 1)[..., None] * 0.7
    halo = halo * inside[..., None]
    canvas.image = canvas.image * (1 - halo) + edge * halo
    _layer(canvas, shapes, face.paint, alpha=0.95, flat=True, line=0.2, inside=inside)


def _front(canvas: Canvas, face: Face) -> None:
    spec, turn, chin = canvas.spec, face.turn * 0.085, face.chin
    jaw = 0.30 if spec.age == "young" else 0.27
    outline = _spline([(0, -0.52), (0.33, -0.40), (0.47, -0.05), (0.43, 0.25), (jaw, chin - 0.10),
                       (0, chin + 0.04), (-jaw, chin - 0.10), (-0.43, 0.25), (-0.47, -0.05),
                       (-0.33, -0.40)])  # fmt: skip
    length = face.hair_length
    # The outline leaves the neck free: hair across it would look like a beard.
    back = [(0, -0.62), (0.42, -0.48), (0.58, -0.05), (0.6, length), (0.4, length + 0.08),
            (0.24, length + 0.02), (0.2, chin - 0.12), (-0.2, chin - 0.12),
            (-0.24, length + 0.02), (-0.4, length + 0.08), (-0.6, length), (-0.58, -0.05),
            (-0.42, -0.48)]  # fmt: skip
    _layer(canvas, [_spline(back)], _tone(face.hair, 0.85))
    for side in (-1, 1):
        _layer(
            canvas, [_ellipse(side * 0.48 - turn * 0.4, 0.06, 0.08, 0.12)], face.skin, round_px=3
        )
    head = _layer(canvas, [outline], face.skin, round_px=9)
    if spec.age == "young":
        for side in (-1, 1):
            _glow(canvas, side * 0.29 + turn, 0.22, 0.12, _blush(face), 0.7)
    if spec.age == "oldest":
        for side in (-1, 1):
            _glow(canvas, side * 0.33 + turn, 0.27, 0.1, _tone(face.skin, 0.5), 0.55)
    shapes = {
        "panther": [_spline([(-0.42 + turn, -0.16), (-0.2 + turn, -0.16), (turn, -0.06),
                             (0.2 + turn, -0.16), (0.42 + turn, -0.16), (0.36 + turn, 0.1),
                             (0.16 + turn, 0.15), (turn, 0.3), (-0.16 + turn, 0.15),
                             (-0.36 + turn, 0.1)])]
        + [_ellipse(side * x + turn, y, 0.042, 0.042) for side in (-1, 1)
           for x, y in ((0.3, 0.22), (0.2, 0.3), (0.32, 0.34))],
        "stripes": [np.array([(side * 0.14 + turn, y), (side * 0.5 + turn, y - 0.06),
                              (side * 0.5 + turn, y + 0.02), (side * 0.14 + turn, y + 0.07)])
                    for side in (-1, 1) for y in (0.12, 0.26)]
        + [np.array([(-0.3 + turn, -0.36), (0.3 + turn, -0.36), (0.26 + turn, -0.28),
                     (-0.26 + turn, -0.28)])],
        "star": [_star(-0.21 + turn, -0.01, 0.34)],
    }  # fmt: skip
    if spec.make_up != "none":
        _paint(canvas, shapes[spec.make_up], face, head)
    _wrinkles(canvas, face, {
        "cheek": [[(s * 0.15 + turn, 0.24), (s * 0.24 + turn, 0.33), (s * 0.25 + turn, 0.44)]
                  for s in (-1, 1)],
        "brow": [[(-0.26 + turn, y), (turn, y - 0.03), (0.26 + turn, y)] for y in (-0.31, -0.24)],
        "bag": [[(s * 0.11 + turn, 0.1), (s * 0.2 + turn, 0.14), (s * 0.3 + turn, 0.1)]
                for s in (-1, 1)],
        "deep": [[(s * 0.36 + turn, 0.0), (s * 0.44 + turn, -0.05)] for s in (-1, 1)]
        + [[(s * 0.36 + turn, 0.05), (s * 0.45 + turn, 0.06)] for s in (-1, 1)]
        + [[(s * 0.33 + turn, 0.2), (s * 0.37 + turn, 0.36)] for s in (-1, 1)],
    })  # fmt: skip
    nose = [(turn * 1.5 - 0.035, -0.05), (turn * 1.5 + 0.035, -0.05), (turn * 1.7 + 0.1, 0.2),
            (turn * 1.7, 0.26), (turn * 1.7 - 0.1, 0.2)]  # fmt: skip
    _layer(canvas, [_spline(nose)], _tone(face.skin, 1.04), round_px=3, line=0.3)
    nostrils = [(turn * 1.7 + u * 0.1, 0.235 + 0.03 * (1 - u * u)) for u in np.linspace(-1, 1, 5)]
    _stroke(canvas, [nostrils], 0.028, 0.6, _tone(face.skin, 0.4))
    if face.beard:
        long = 0.92 if spec.age == "oldest" else 0.72
        beard = [(-0.45, 0.1), (-0.3, 0.32), (-0.14, 0.31), (turn, 0.28), (0.14, 0.31), (0.3, 0.32),
                 (0.45, 0.1), (0.4, 0.5), (0.22, long - 0.05), (0, long), (-0.22, long - 0.05),
                 (-0.4, 0.5)]  # fmt: skip
        _layer(canvas, [_spline(beard)], face.hair, round_px=4)
    _mouth(canvas, turn * 1.3, 0.41 if spec.age != "young" else 0.36, 0.2, face)
    for side in (-1, 1):
        _eye(canvas, side * 0.21 + turn, -0.01, face, face.turn)
        _brow(canvas, side * 0.21 + turn, -0.01, -side, face)
    fringe = [(-0.48, -0.1), (-0.44, -0.42), (-0.2, -0.58), (0.2, -0.58), (0.44, -0.42),
              (0.48, -0.1),
              (0.4, -0.28), (0.16, -0.42), (-0.2, -0.38), (-0.4, -0.26)]  # fmt: skip
    _layer(canvas, [_spline(fringe)], face.hair, round_px=3)


def _side(canvas: Canvas, face: Face) -> None:
    """Facing right; `draw` mirrors those that face left."""
    spec, chin = canvas.spec, face.chin
    length = face.hair_length
    back = [(0.1, -0.62), (-0.3, -0.58), (-0.6, -0.3), (-0.66, 0.1), (-0.56, length + 0.06),
            (-0.2, length), (0.0, 0.1), (0.3, -0.42)]  # fmt: skip
    _layer(canvas, [_spline(back)], _tone(face.hair, 0.85))
    nose = 0.535 if spec.age != "young" else 0.50
    outline = _spline([(0.06, -0.56), (0.30, -0.45), (0.40, -0.24), (0.39, -0.08), (0.43, 0.03),
                       (nose - 0.03, 0.11), (nose, 0.175), (nose - 0.04, 0.225), (0.42, 0.245),
                       (0.425, 0.32), (0.405, 0.375), (0.42, 0.43), (0.37, 0.48),
                       (0.36, chin - 0.03), (0.22, chin + 0.05),
                       (-0.02, chin - 0.06), (-0.2, 0.36), (-0.42, 0.3), (-0.5, -0.05),
                       (-0.4, -0.4), (-0.16, -0.56)])  # fmt: skip
    head = _layer(canvas, [outline], face.skin, round_px=8)
    if spec.age == "young":
        _glow(canvas, 0.14, 0.24, 0.13, _blush(face), 0.7)
    if spec.age == "oldest":
        _glow(canvas, 0.1, 0.3, 0.12, _tone(face.skin, 0.5), 0.55)
    shapes = {
        "panther": [_spline([(0.44, -0.14), (0.2, -0.2), (-0.12, -0.12), (-0.24, 0.02),
                             (-0.02, 0.1),
                             (0.2, 0.14), (0.34, 0.26), (0.5, 0.3), (0.7, 0.2), (0.46, 0.0)])]
        + [_ellipse(x, y, 0.042, 0.042) for x, y in ((0.1, 0.22), (0.2, 0.31), (0.06, 0.36))],
        "stripes": [np.array([(-0.2, y), (0.32, y - 0.04), (0.32, y + 0.05), (-0.2, y + 0.09)])
                    for y in (0.12, 0.27)]
        + [np.array([(0.0, -0.38), (0.45, -0.36), (0.45, -0.28), (0.0, -0.29)])],
        "star": [_star(0.17, -0.02, 0.34)],
    }  # fmt: skip
    if spec.make_up != "none":
        _paint(canvas, shapes[spec.make_up], face, head)
    _wrinkles(canvas, face, {
        "cheek": [[(0.3, 0.25), (0.24, 0.34), (0.27, 0.44)]],
        "brow": [[(0.02, y), (0.2, y - 0.03), (0.37, y + 0.01)] for y in (-0.31, -0.24)],
        "bag": [[(0.08, 0.1), (0.18, 0.14), (0.3, 0.1)]],
        "deep": [[(-0.02, 0.0), (-0.12, -0.05)], [(-0.02, 0.05), (-0.13, 0.06)],
                 [(0.06, 0.22), (0.02, 0.38)]],
    })  # fmt: skip
    _layer(canvas, [_ellipse(-0.24, 0.08, 0.08, 0.13)], _tone(face.skin, 0.96), round_px=3)
    _stroke(canvas, [[(-0.22, 0.0), (-0.27, 0.06), (-0.22, 0.13)]], 0.025, 0.6)
    _stroke(canvas, [[(0.455, 0.225), (0.42, 0.195)]], 0.026, 0.5, _tone(face.skin, 0.4))
    if face.beard:
        low = chin + (0.36 if spec.age == "oldest" else 0.16)
        beard = [(-0.2, 0.12), (-0.06, 0.3), (0.2, 0.29), (0.42, 0.28), (0.45, 0.36), (0.46, 0.52),
                 (0.42, low - 0.1), (0.24, low), (0.0, low - 0.12), (-0.16, 0.5)]  # fmt: skip
        _layer(canvas, [_spline(beard)], face.hair, round_px=4)
    _mouth(canvas, 0.3, 0.385 if spec.age != "young" else 0.36, 0.13, face)
    look = 0.8 if spec.gaze == "away" else -0.35
    _eye(canvas, 0.22, -0.02, face, look, width=0.125 if spec.gaze == "away" else 0.14)
    _brow(canvas, 0.23, -0.02, 1, face)
    fringe = [(-0.3, -0.05), (-0.52, -0.1), (-0.5, -0.42), (-0.2, -0.62), (0.14, -0.6),
              (0.38, -0.4),
              (0.3, -0.3), (0.0, -0.36), (-0.16, -0.2)]  # fmt: skip
    _layer(canvas, [_spline(fringe)], face.hair, round_px=3)


# --- what the subject wears ---------------------------------------------------------------------


def _antlers(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    # antlers, a crest of bone, a banded brow
    side_on = canvas.spec.view == "side"
    for side in (-1, 1):
        reach = 0.62 if not side_on else 0.5
        horn = [(x + side * 0.2, -0.44), (x + side * 0.5, -0.55), (x + side * reach * 1.1, -0.95),
                (x + side * reach * 0.92, -0.72), (x + side * 0.4, -0.62),
                (x + side * 0.1, -0.56)]  # fmt: skip
        _layer(canvas, [_spline(horn)], BONE, round_px=3)
        tine = [(x + side * 0.42, -0.58), (x + side * 0.36, -0.88), (x + side * 0.56, -0.64)]
        _layer(canvas, [tine], BONE, round_px=2)
    crest = [(x - 0.27, -0.48), (x - 0.2, -0.9), (x - 0.08, -0.68), (x, -1.0), (x + 0.08, -0.68),
             (x + 0.2, -0.9), (x + 0.27, -0.48)]  # fmt: skip
    _layer(canvas, [crest], colour, round_px=3)
    band = [(x - 0.5, -0.3), (x - 0.42, -0.54), (x, -0.6), (x + 0.42, -0.54), (x + 0.5, -0.3),
            (x, -0.42)]  # fmt: skip
    _layer(canvas, [_spline(band)], LEATHER, round_px=3)
    for u in (-0.3, 0.0, 0.3):
        gem = _ellipse(x + u, -0.49 + 0.25 * u * u, 0.055, 0.055)
        _layer(canvas, [gem], GOLD, round_px=2)


def _helm(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    side_on = canvas.spec.view == "side"
    dome = [(x - 0.56, 0.3), (x - 0.6, -0.1), (x - 0.5, -0.5), (x, -0.76), (x + 0.5, -0.5),
            (x + 0.6, -0.1), (x + 0.56, 0.3), (x + 0.42, 0.2), (x + 0.4, -0.22), (x, -0.34),
            (x - 0.4, -0.22), (x - 0.42, 0.2)]  # fmt: skip
    if side_on:
        dome = [(-0.52, 0.42), (-0.64, 0.0), (-0.56, -0.45), (-0.1, -0.76), (0.34, -0.55),
                (0.46, -0.26), (0.1, -0.32), (-0.1, -0.16), (-0.12, 0.3)]  # fmt: skip
    plume = [(x, -0.7), (x + 0.05, -0.95), (x - 0.3, -1.0), (x - 0.72, -0.8), (x - 0.8, -0.45),
             (x - 0.56, -0.62), (x - 0.3, -0.74)]  # fmt: skip
    _layer(canvas, [_spline(plume)], colour, round_px=4)
    _layer(canvas, [_spline(dome)], STEEL, round_px=6)
    for u in (-0.42, -0.2, 0.2, 0.42):
        rivet = _ellipse(x + u, -0.44 + 0.5 * u * u, 0.028, 0.028)
        _layer(canvas, [rivet], GOLD, round_px=1, line=0.4)


def _crown(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    side_on = canvas.spec.view == "side"
    crown = [(x - 0.44, -0.4), (x - 0.54, -0.86), (x - 0.26, -0.64), (x, -0.98),
             (x + 0.26, -0.64), (x + 0.54, -0.86), (x + 0.44, -0.4), (x, -0.48)]  # fmt: skip
    _layer(canvas, [crown], GOLD, round_px=5)
    for px, py in ((-0.54, -0.87), (0, -0.96), (0.54, -0.87)):
        _layer(canvas, [_ellipse(x + px, py, 0.05, 0.05)], CREAM, round_px=2)
    for u in (-0.26, 0.0, 0.26):
        _layer(canvas, [_ellipse(x + u, -0.53, 0.065, 0.065)], colour, round_px=2)
    for side in (-1, 1) if not side_on else (-0.5,):
        _layer(canvas, [_ellipse(side * 0.49, 0.24, 0.05, 0.06)], GOLD, round_px=2)


def _pointed_hat(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    cone = [(x - 0.44, -0.36), (x - 0.22, -0.74), (x - 0.02, -1.08), (x + 0.3, -0.98),
            (x + 0.2, -0.8), (x + 0.44, -0.36)]  # fmt: skip
    _layer(canvas, [_spline(cone)], colour, round_px=6)
    _layer(canvas, [_ellipse(x, -0.38, 0.74, 0.12)], _tone(colour, 0.85), round_px=4)
    _layer(canvas, [_star(x, -0.66, 0.14)], GOLD, round_px=2)


def _belled_cap(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    for side, tone in ((-1, colour), (1, CREAM)):
        horn = [(x, -0.42), (x + side * 0.46, -0.34), (x + side * 0.62, -0.6),
                (x + side * 0.9, -0.42), (x + side * 0.78, -0.78), (x + side * 0.4, -0.92),
                (x, -0.72)]  # fmt: skip
        _layer(canvas, [_spline(horn)], tone, round_px=5)
        _layer(canvas, [_ellipse(x + side * 0.86, -0.36, 0.085, 0.085)], GOLD, round_px=3)
    for i, u in enumerate(np.linspace(-0.36, 0.36, 5)):
        point = [(x + u - 0.1, -0.44), (x + u + 0.1, -0.44), (x + u, -0.24)]
        _layer(canvas, [point], CREAM if i % 2 else _tone(colour, 0.8), round_px=2)


def _tricorn(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    tricorn = [(x - 0.78, -0.42), (x - 0.5, -0.62), (x - 0.3, -0.82), (x, -0.92), (x + 0.3, -0.82),
               (x + 0.5, -0.62), (x + 0.78, -0.42), (x + 0.3, -0.44), (x, -0.5),
               (x - 0.3, -0.44)]  # fmt: skip
    scarf = [(x - 0.46, -0.24), (x - 0.4, -0.5), (x, -0.56), (x + 0.4, -0.5), (x + 0.46, -0.24),
             (x, -0.36)]  # fmt: skip
    _layer(canvas, [_spline(scarf)], colour, round_px=3)
    _layer(canvas, [_spline(tricorn)], LEATHER, round_px=5)
    rim = [
        (x - 0.74, -0.44),
        (x - 0.28, -0.47),
        (x, -0.52),
        (x + 0.28, -0.47),
        (x + 0.74, -0.44),
    ]
    _layer(canvas, [rim], GOLD, width=0.05, round_px=1, line=0.3)
    _layer(canvas, [_ellipse(x, -0.7, 0.1, 0.1)], CREAM, round_px=3)
    for side in (-1, 1):
        _stroke(canvas, [[(x - 0.12, -0.7 + side * 0.1), (x + 0.12, -0.7 - side * 0.1)]], 0.03,
                1.0, CREAM)  # fmt: skip


def _hood(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    side_on = canvas.spec.view == "side"
    hood = [(x, -0.8), (x + 0.44, -0.6), (x + 0.66, -0.1), (x + 0.6, 0.6), (x + 0.42, 0.7),
            (x + 0.44, 0.1), (x + 0.34, -0.3), (x, -0.44), (x - 0.34, -0.3), (x - 0.44, 0.1),
            (x - 0.42, 0.7), (x - 0.6, 0.6), (x - 0.66, -0.1), (x - 0.44, -0.6)]  # fmt: skip
    if side_on:
        hood = [(0.0, -0.84), (0.44, -0.58), (0.4, -0.34), (0.1, -0.36), (-0.12, -0.1),
                (-0.16, 0.34), (-0.1, 0.72), (-0.5, 0.74), (-0.76, 0.3), (-0.8, -0.2),
                (-0.5, -0.68)]  # fmt: skip
    _layer(canvas, [_spline(hood)], colour, round_px=6)
    leaf = [(x + 0.1, -0.56), (x + 0.42, -0.86), (x + 0.5, -1.0), (x + 0.52, -0.74),
            (x + 0.3, -0.52)]  # fmt: skip
    _layer(canvas, [_spline(leaf)], GOLD, round_px=2)


def _glass_helmet(canvas: Canvas, colour: np.ndarray, x: float) -> None:
    # astronaut: the ring and glass of a helmet
    t = np.linspace(0, 2 * np.pi, 49)
    ring = np.stack([x + 0.76 * np.cos(t), -0.08 + 0.82 * np.sin(t)], 1)
    _layer(canvas, [ring], (0.93, 0.94, 0.96), width=0.13, round_px=3, body=True)
    _layer(canvas, [_ellipse(x + side * 0.76, 0.0, 0.09, 0.17) for side in (-1, 1)], colour,
           round_px=3, body=True)  # fmt: skip
    glass = _mask(canvas, [_ellipse(x, -0.08, 0.7, 0.76)], body=True) * 0.10
    canvas.image = canvas.image * (1 - glass[..., None]) + glass[..., None]
    shine = [(x - 0.56, -0.3), (x - 0.42, -0.56), (x - 0.26, -0.68)]
    _stroke(canvas, [shine], 0.07, 0.75, (1, 1, 1), body=True)


# Each is given the figure's colour and the x of the head's middle.
HEADGEAR = {
    "warrior chief": _antlers,
    "knight": _helm,
    "queen": _crown,
    "wizard": _pointed_hat,
    "jester": _belled_cap,
    "pirate": _tricorn,
    "ranger": _hood,
    "astronaut": _glass_helmet,
}


# --- light and style ----------------------------------------------------------------------------


def _rim_light(canvas: Canvas) -> None:
    """A hard light from behind: the figure's edge flares on both sides."""
    soft = _blur(canvas.figure, 3.2)
    gx = np.abs(np.gradient(soft, axis=1)) * 5
    band = canvas.figure * np.clip((1 - soft) * 1.9, 0, 1) * np.clip(0.45 + gx, 0, 1)
    band = np.clip(band * 1.5, 0, 1)[..., None]
    canvas.image = canvas.image * (1 - band) + np.array((1.0, 0.96, 0.84)) * band


def _finish(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The style: how colour, line and paper come together. (SIZE, SIZE, 3) in [0, 1]."""
    image, line, style = np.clip(canvas.image, 0, 1), canvas.lines[..., None], canvas.spec.style
    seed = int(rng.integers(8))
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
    if style == "photo":
        vignette = 1 - 0.16 * np.clip(x * x + y * y - 0.5, 0, 1.5)
        return image * (1 - 0.4 * line) * vignette[..., None]
    if style == "oil":
        rows, columns = np.mgrid[0:SIZE, 0:SIZE]
        rows = np.clip(rows + np.rint(_noise(seed, 8) * 1.6), 0, SIZE - 1).astype(int)
        columns = np.clip(columns + np.rint(_noise(seed + 8, 8) * 1.6), 0, SIZE - 1).astype(int)
        image = (image * (1 - 0.45 * line))[rows, columns]
        daubs = Image.fromarray((image * 255).astype(np.uint8)).filter(ImageFilter.MedianFilter(3))
        image = np.asarray(daubs, np.float32) / 255
        strokes = _noise(seed + 16, 8)
        grey = image.mean(-1, keepdims=True)
        return (grey + 1.22 * (image - grey)) * (1 + 0.2 * strokes[..., None])
    if style == "sketch":
        grey = image.mean(-1, keepdims=True)
        hatch = 0.5 + 0.5 * np.sin((x * 0.8 + y) * 32)[..., None]
        wash = 0.50 * image + 0.50 * np.array((0.97, 0.96, 0.92))
        wash = wash * (1 - 0.20 * hatch * np.clip(0.9 - grey, 0, 1))
        return wash * (1 - 0.95 * line)
    if style == "watercolour":
        wash = 1 - (1 - image) * (0.80 + 0.16 * _noise(seed, 16)[..., None])
        wash = wash * (1 - 0.45 * line) + 0.45 * line * image * 0.5
        frame = np.maximum(np.abs(x), np.abs(y)) + 0.07 * _noise(seed + 8, 16)
        paper = np.clip((frame - 0.86) * 9, 0, 1)[..., None]
        return wash * (1 - paper) + np.array((0.98, 0.97, 0.94)) * paper
    grey = image.mean(-1, keepdims=True)  # comic
    thick = np.clip(_blur(canvas.lines, 0.7) * 2.6, 0, 1)[..., None]
    return np.clip(grey + 1.25 * (image - grey), 0, 1) * (1 - 0.96 * thick)


def draw(spec: Spec) -> Image.Image:
    """The portrait that `spec` describes, an RGB picture of 128x128 pixels.

    >>> portrait = draw(Spec(subject="wizard", age="oldest", figure="purple"))
    >>> portrait.size, portrait == draw(Spec(subject="wizard", age="oldest", figure="purple"))
    ((128, 128), True)
    """
    rng = np.random.default_rng(spec.seed)
    face = _face(spec, rng)
    colour = np.asarray(COLOURS[spec.figure], np.float32)
    canvas = Canvas(spec, _background(spec, rng).astype(np.float32))
    canvas.lines = np.zeros((SIZE, SIZE), np.float32)
    canvas.shift = (float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.01, 0.02)))
    _body(canvas, face.skin, colour)
    if spec.view == "side":
        canvas.angle = -0.12 if spec.gaze == "away" else 0.03
        _side(canvas, face)
    else:
        canvas.angle = 0.07 * face.turn
        _front(canvas, face)
    HEADGEAR[spec.subject](canvas, colour, -0.06 if spec.view == "side" else 0.0)
    if spec.light == "rim":
        _rim_light(canvas)
    pixels = _finish(canvas, rng)
    if spec.direction == "left":
        pixels = pixels[:, ::-1]
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))
