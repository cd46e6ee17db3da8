"""Set up all tests, doctests included."""

import os
import sys


def pytest_configure() -> None:
    """Leave the GPU of GitHub's Macs alone: PyTorch finds it, and every allocation fails."""
    if sys.platform == "darwin" and "CI" in os.environ:
        import torch

        torch.backends.mps.is_available = lambda: False
