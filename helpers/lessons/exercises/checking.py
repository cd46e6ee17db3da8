"""Make a function a check, which says in a sentence what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import UnionType

POINT = 0.01  # of adherence: less is not a loss
SAME = 5.0  # of 255, between a picture in a batch and the picture alone (0.3 in bfloat16)


def checks(
    expected: type | UnionType, called: str
) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Make a function a check: an answer that is missing or of another kind gets a sentence."""

    def decorate(check: Callable[..., str]) -> Callable[..., str]:
        @wraps(check)
        def checked(answer: object, *args: object, **kwargs: object) -> str:
            if answer is None:
                return f"Not tried yet: put {called} in the place of None."
            if not isinstance(answer, expected) or isinstance(answer, bool):
                return f"Not yet: the answer is {called}, not {answer!r:.60}."
            try:
                return check(answer, *args, **kwargs)
            except Exception as error:  # whatever the answer breaks, the page runs on
                return f"Not yet: with this answer comes a {type(error).__name__}: {error}"

        return checked

    return decorate


def compare(read: Mapping[str, str], wanted: Mapping[str, str], where: str) -> str:
    """Set what was read beside what was wanted, in a sentence."""
    wrong = [name for name in wanted if read[name] != wanted[name]]
    if wrong:
        said = ", ".join(f"{name} is {read[name]} and not {wanted[name]}" for name in wrong)
        return f"Not yet: with {where}, {said}."
    return f"Right: with {where}, the judge reads {', '.join(map(str, wanted.values()))}."
