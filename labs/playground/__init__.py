"""A widget to try prompts, seeds and settings, and grids that vary two settings."""

from labs.playground.player import playground
from labs.playground.xy_grid import replace_words, xy_grid

__all__ = ["playground", "replace_words", "xy_grid"]
