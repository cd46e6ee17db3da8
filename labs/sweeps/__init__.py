"""Many images by many processes, in a folder from which a sweep goes on after an interruption."""

from labs.sweeps.running import sweep

__all__ = ["sweep"]
