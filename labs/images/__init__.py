"""The settings that made an image, and the PNG files that keep them."""

from labs.images.settings import Settings, read_settings, save_image

__all__ = ["Settings", "read_settings", "save_image"]
