"""`make check`: is this machine ready for the tutorial? An [ok] for each thing, or what to do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)  # of Python
ROOM = 2 * 2**30  # bytes: for what notebooks and compilers write; the embedded model is here
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def python() -> str:
    """Which Python runs, and whether it is new enough.

    Example:
        >>> python().startswith("Python 3.")
        True
    """
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST:
        raise RuntimeError(f"Python {found} is too old: install 3.11 or newer.")
    return f"Python {found}"


def packages() -> str:
    """Whether all that the tutorial needs is installed, in versions that will do.

    Example:
        >>> packages()
        '... packages are there, PyTorch ...'
    """
    from packaging.requirements import Requirement

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = [Requirement(line) for line in tomllib.loads(text)["project"]["dependencies"]]
    wrong = []
    for one in needed:
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} ({version}, needed {one.specifier})")
    if wrong:
        raise RuntimeError(f"{', '.join(wrong)}: run `make lab` once, or install them with pip.")
    return f"{len(needed)} packages are there, PyTorch {importlib.metadata.version('torch')}"


def kernel() -> str:
    """Whether the kernel named python3, which the notebooks ask for, is this very Python.

    Example:
        >>> kernel()
        'the notebooks run in ...'
    """
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel as error:
        raise RuntimeError("There is no kernel named python3: pip install ipykernel.") from error
    if re.fullmatch(r"python[\d.]*", command):
        command = sys.executable  # Jupyter starts its own Python by these names
    found = Path(command)
    if not found.exists() or found.parent.resolve() != Path(sys.executable).parent.resolve():
        raise RuntimeError(
            f"The kernel named python3 is {found}, not this Python: start JupyterLab by `make lab`."
        )
    return f"the notebooks run in {sys.executable}"


def disk() -> str:
    """Whether there is room for what the notebooks write.

    Example:
        >>> disk()
        '... GB are free'
    """
    free = shutil.disk_usage(ROOT).free
    if free < ROOM:
        raise RuntimeError(
            f"Only {free / 1e9:.1f} GB are free here: make room for {ROOM / 1e9:.1f}."
        )
    return f"{free / 1e9:.0f} GB are free"


def browser() -> str:
    """Whether there is a Chromium that starts, which the tests of the playground drive.

    Example:
        >>> browser()
        '...playground...'
    """
    path = find_chromium()
    if path is None:
        return "no Chromium: only the tests of the playground in a browser are left out"
    command = [path, "--version"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if run.returncode:
        raise RuntimeError(f"{path} does not start: install Chromium anew. {run.stderr.strip()}")
    return f"the playground is tested in {run.stdout.strip()}"


def find_chromium() -> str | None:
    """Return the path of the browser that the environment variable CHROMIUM names, or of any.

    Raises:
        FileNotFoundError: there is no such browser as CHROMIUM names.

    Example:
        >>> path = find_chromium()
        >>> path is None or Path(path).exists()
        True
    """
    named = os.environ.get("CHROMIUM")
    path = next(filter(None, map(shutil.which, [named] if named else CHROMIUM)), None)
    if named and not path:
        raise FileNotFoundError(f"CHROMIUM names {named}, which is not installed.")
    return path


def picture() -> str:
    """Whether the embedded model is whole and draws; with the seconds it took.

    Example:
        >>> picture()
        'a picture is drawn on ... in ... s'
    """
    from helpers import load_pipeline

    index = ROOT / "models/tiny-portraits/model_index.json"
    json.loads(index.read_text(encoding="utf-8"))
    pipeline = load_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline("portrait photo of a knight", num_inference_steps=2)
    start = time.perf_counter()
    image = pipeline("portrait photo of a knight", num_inference_steps=20).images[0]
    if image.getbbox() is None:
        raise RuntimeError("The picture is black: load the model with dtype='float32'.")
    return f"a picture is drawn on {pipeline.device} in {time.perf_counter() - start:.1f} s"


CHECKS: tuple[Callable[[], str], ...] = (python, packages, kernel, disk, browser, picture)


def main(checks: tuple[Callable[[], str], ...] = CHECKS) -> int:
    """Run all checks, print a line for each, and return how many failed.

    Example:
        >>> main((python,))
        [ok] Python ...
        0
    """
    failed = 0
    for check in checks:
        try:
            print(f"[ok] {check()}")
        except Exception as error:  # whatever it is, the other checks still tell something
            failed += 1
            print(f"[--] {check.__name__}: {error}")
    return failed


if __name__ == "__main__":
    os.environ.setdefault("CI", "true")  # no progress bars between the lines
    failed = main()
    print("This machine is ready." if not failed else f"{failed} of {len(CHECKS)} to mend.")
    sys.exit(failed > 0)
