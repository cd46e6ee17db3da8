"""`make check`: is this machine ready? Prints [ok] or what to do, for each check."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FREE_SPACE = 2e9  # bytes, for the files that notebooks and compilers write


def check_python() -> str:
    """Check that Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < (3, 11):  # noqa: UP036  (this file may run before pip refuses it)
        raise RuntimeError(f"Python {version} is too old: install 3.11 or newer.")
    return f"Python {version}"


def check_packages() -> str:
    """Check that every package the notebooks need is installed, in a version that works."""
    from packaging.requirements import Requirement

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wrong = []
    for requirement in map(Requirement, tomllib.loads(text)["project"]["dependencies"]):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if wrong:
        raise RuntimeError(
            f"{'; '.join(wrong)}. Install as the README says, for instance `make lab`."
        )
    return f"all packages, with PyTorch {importlib.metadata.version('torch')}"


def check_kernel() -> str:
    """Check that the kernel named python3, in which the notebooks run, is this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel as error:
        raise RuntimeError("Jupyter has no kernel named python3: pip install ipykernel.") from error
    if re.fullmatch(r"python[\d.]*", command):
        command = sys.executable  # Jupyter starts its own Python under these names
    if Path(command).parent.resolve() != Path(sys.executable).parent.resolve():
        raise RuntimeError(
            f"Jupyter's kernel python3 is {command}, not {sys.executable}: start JupyterLab with "
            "`make lab`."
        )
    return f"the notebooks run in {sys.executable}"


def check_disk() -> str:
    """Check that there is space for the files that the notebooks write."""
    free = shutil.disk_usage(ROOT).free
    if free < FREE_SPACE:
        raise RuntimeError(
            f"Only {free / 1e9:.1f} GB of disk are free: {FREE_SPACE / 1e9:.0f} GB are needed."
        )
    return f"{free / 1e9:.0f} GB of disk are free"


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


CHECKS = (check_python, check_packages, check_kernel, check_disk, check_model)


def main(checks: Sequence[Callable[[], str]] = CHECKS) -> int:
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
