"""The settings that made an image, and the PNG files that keep them: what the labs may share."""

from labs.images.settings import Settings, SettingsError, read_settings, save_image

__all__ = ["Settings", "SettingsError", "read_settings", "save_image"]
