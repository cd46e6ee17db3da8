"""Where the browser is that the tests drive."""

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium():
    """Return the path of Chromium, or None; where CHROMIUM names one, as in CI, it must exist."""
    if name := os.environ.get("CHROMIUM"):
        assert shutil.which(name), f"CHROMIUM names {name}, which is not installed"
        return shutil.which(name)
    return next(filter(None, map(shutil.which, NAMES)), None)
