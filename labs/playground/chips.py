"""The words that a model knows, as chips: a click puts one into the prompt."""

from __future__ import annotations

import re
from typing import Any

import ipywidgets as widgets

LABELS = {"make_up": "make-up", "figure": "clothes"}
# What a prompt without a style begins with, and not the lens' "50mm portrait photography".
PORTRAIT = r"(?i)(?<![\w-])portrait(?! photography)(?![\w-])"


def put_phrase(prompt: str, attribute: str, value: str, vocabulary: dict[str, Any]) -> str:
    """Put an attribute's value into a prompt: in place of another value, or where it belongs.

    Args:
        vocabulary: a judge's, with the phrases for each value of each attribute.
    """
    phrases = vocabulary[attribute]["values"][value]
    current, kind = _find(prompt, vocabulary[attribute]["values"])
    place = _whole(current) if current else None
    if attribute == "style" and not current and re.search(PORTRAIT, prompt):
        place = PORTRAIT
    subject, _ = _find(prompt, vocabulary.get("subject", {"values": {}})["values"])
    phrase = phrases[0 if attribute == "age" else min(kind, len(phrases) - 1)]
    if place:
        prompt = re.sub(place, phrase, prompt, count=1)
    elif attribute == "age" and subject:
        prompt = re.sub(_whole(subject), f"{phrase} {subject}", prompt, count=1)
    else:
        prompt = ", ".join(filter(None, [prompt.strip(" ,\n"), phrase]))
    if attribute == "age":  # as the captions that the model learned from have it
        article = "the" if value == "oldest" else "a"
        prompt = re.sub(rf"\b(an?|the) (?={re.escape(phrase)}\b)", f"{article} ", prompt)
    return prompt


def make_chips(prompt: widgets.Textarea, vocabulary: dict[str, Any]) -> widgets.Accordion:
    """Make a folded box of buttons, a row for each attribute, that act on a prompt's control."""
    rows = []
    for attribute, entry in vocabulary.items():
        row: list[widgets.Widget] = [widgets.HTML(f"<b>{LABELS.get(attribute, attribute)}</b>")]
        for value, phrases in entry["values"].items():
            chip = widgets.Button(description=phrases[0], layout={"width": "auto"})
            chip.tooltip = f"Put “{phrases[0]}” into the prompt"

            def put(_: object, attribute: str = attribute, value: str = value) -> None:
                prompt.value = put_phrase(prompt.value, attribute, value, vocabulary)

            chip.on_click(put)
            row.append(chip)
        layout = {"flex": "none", "flex_flow": "row wrap", "align_items": "center"}
        rows.append(widgets.Box(row, layout=layout))
    box = widgets.VBox(rows, layout={"max_height": "16em", "overflow": "auto"})
    chips = widgets.Accordion([box], selected_index=None)
    chips.set_title(0, "Words that the model knows")  # ipywidgets 7, which Colab has, too
    return chips


def _find(prompt: str, values: dict[str, list[str]]) -> tuple[str, int]:
    """Return the longest phrase that stands in a prompt, and which of its value's phrases it is."""
    found = [
        (match[0], kind)
        for phrases in values.values()
        for kind, phrase in enumerate(phrases)
        if (match := re.search(_whole(phrase), prompt))
    ]
    return max(found, key=lambda pair: len(pair[0]), default=("", 0))


def _whole(phrase: str) -> str:
    return rf"(?i)(?<![\w-]){re.escape(phrase)}(?![\w-])".replace(r"\ ", "[ -]")
