"""`make check`: is this machine ready? Prints [ok] or what to do, for each check."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def check_packages() -> str:
    """Check that every package the notebooks need is installed, in a version that works."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    items = importlib.metadata.distributions()
    found = {canonicalize_name(item.name): item.version for item in items}
    wrong = []
    for line in map(Requirement, tomllib.loads(text)["project"]["dependencies"]):
        version = found.get(canonicalize_name(line.name), "missing")
        if version == "missing" or not line.specifier.contains(version, prereleases=True):
            wrong.append(f"{line.name} is {version}, not {line.specifier}")
    if wrong:
        raise RuntimeError(f"{'; '.join(wrong)}: install as the README says, such as `make lab`.")
    return f"Python {sys.version.split()[0]} and all packages, with PyTorch {found['torch']}"


def check_kernel() -> str:
    """Check that the kernel named python3, in which the notebooks run, is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    if re.fullmatch(r"python[\d.]*", command):
        command = sys.executable  # Jupyter starts its own Python under these names
    if Path(command).parent.resolve() != Path(sys.executable).parent.resolve():
        raise RuntimeError(
            f"Jupyter's kernel python3 is {command}, not {sys.executable}: start JupyterLab with "
            "`make lab`."
        )
    return f"the notebooks run in {sys.executable}"


def check_model() -> str:
    """Check that the embedded model generates an image that is not black."""
    from helpers import load_pipeline

    pipeline = load_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    start = time.perf_counter()
    image = pipeline("portrait photo of a knight", num_inference_steps=20).images[0]
    if image.getbbox() is None:
        raise RuntimeError("The image is black: load the model with dtype='float32'.")
    return f"generated an image on {pipeline.device} in {time.perf_counter() - start:.1f} s"


def main(checks: Sequence[Callable[[], str]] = (check_packages, check_kernel, check_model)) -> int:
    """Run all checks, print a line for each, and return how many failed."""
    failed = 0
    for check in checks:
        try:
            print(f"[ok] {check()}")
        except Exception as error:  # the other checks can still tell something
            failed += 1
            print(f"[failed] {error}")
    print(f"{failed} of {len(checks)} checks failed." if failed else "This machine is ready.")
    return failed


if __name__ == "__main__":
    os.environ.setdefault("CI", "true")  # no progress bars between the lines
    sys.exit(main() > 0)
