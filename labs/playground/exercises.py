"""Checks of the exercises on the playground."""

from __future__ import annotations

from helpers.lessons.exercises import checks
from labs.images import Settings


@checks(Settings, "the settings of a picture")
def settings_are(answer: Settings, **wanted: object) -> str:
    """Are these the settings that were asked for?

    Args:
        answer: of a picture.
        wanted: by name.

    Example:
        >>> settings_are(Settings("a knight", seed=3), seed=7)
        'Not yet: seed is 3 and not 7.'
    """
    wrong = {
        name: getattr(answer, name) for name in wanted if getattr(answer, name) != wanted[name]
    }
    if wrong:
        said = ", ".join(
            f"{name} is {value} and not {wanted[name]}" for name, value in wrong.items()
        )
        return f"Not yet: {said}."
    return f"Right: {', '.join(f'{name} is {value}' for name, value in wanted.items())}."
