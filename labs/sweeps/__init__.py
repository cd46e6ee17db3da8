"""Many images in many processes, in a folder that can be resumed."""

from labs.sweeps.running import sweep

__all__ = ["sweep"]
