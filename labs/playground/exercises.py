"""The check of an exercise on the playground."""

from __future__ import annotations

from helpers.lessons.exercises import checks, require
from labs.images import Settings


@checks(Settings, "the settings of an image")
def settings_are(answer: Settings, **expected: object) -> str:
    """Check an image's settings against the expected values of some of them."""
    found = {name: getattr(answer, name) for name in expected}
    said = ", ".join(f"{name} is {value}" for name, value in found.items())
    require(found == expected, f"{said}, and not {', '.join(map(str, expected.values()))}.")
    return f"{said}."
