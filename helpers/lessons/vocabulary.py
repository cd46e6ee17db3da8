"""A table of the words that the embedded model knows."""

from __future__ import annotations

from typing import Any

NAMES = {
    "make_up": "make-up",
    "figure": "color of the clothes",
    "background": "background color",
    "direction": "direction, in a side profile",
}


def vocabulary_table(vocabulary: dict[str, Any]) -> str:
    """Return a judge's vocabulary as a table in Markdown: attributes, phrases, defaults."""
    lines = ["| you choose | by one of these phrases | if you leave it out |", "|---|---|---|"]
    for attribute, entry in vocabulary.items():
        values = entry["values"]
        phrases = [" or ".join(f"*{phrase}*" for phrase in words[:2]) for words in values.values()]
        patterns = {text.replace(value, "…") for value, text in zip(values, phrases, strict=True)}
        if len(patterns) == 1 and len(values) > 1:  # the same phrase for each color
            phrases = [f"{patterns.pop()}, with {', '.join(values)}"]
        default = entry.get("default", "chance decides")
        if default in values:  # named by its first phrase, as the other columns are
            default = values[default][0]
        name = NAMES.get(attribute, attribute)
        lines.append(f"| **{name}** | {'; '.join(phrases)} | {default} |")
    return "\n".join(lines)
