"""Make Google's Colab ready for the notebooks, and lead readers there: with Python alone.

Colab opens a notebook by itself. Its first cell fetches the repository and calls `prepare` from
this file, before anything is installed; on any other machine that cell does nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Made for Colab's page and its GPU: another version of these breaks it (colabtools issue 4595).
PROVIDED = ("ipywidgets", "jupyterlab", "torch")
COLAB = "https://colab.research.google.com"
WITHOUT_ADDRESS = """\
import sys

if "google.colab" in sys.modules:  # elsewhere, there is nothing to do
    raise RuntimeError(
        "This repository has no address yet: set Repository under [project.urls] in "
        "pyproject.toml to its page on GitHub, then run make badges."
    )"""
WITH_ADDRESS = """\
import runpy
import subprocess
import sys
from pathlib import Path

if "google.colab" in sys.modules:  # elsewhere, there is nothing to do
    repository = "{address}"
    if not Path("tutorial").exists():
        subprocess.run(["git", "clone", "--quiet", "--depth=1", repository, "tutorial"], check=True)
    runpy.run_path("tutorial/tools/colab.py")["prepare"]()"""


def prepare() -> None:
    """Install what Colab lacks, and let it find the helpers.

    Raises:
        RuntimeError: pip found no versions that go together with Colab's PyTorch, or replaced
            something that was in use.
    """
    before = _versions_in_use()
    run = subprocess.run(install_command(), capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(
            f"Colab lacks something that pip could not install beside its PyTorch: {run.stderr}"
        )
    replaced = sorted(before.keys() - (before.items() & _versions_in_use().items()))
    sys.path.insert(0, str(ROOT))
    if replaced:
        raise RuntimeError(
            f"{', '.join(replaced)} had to be replaced while in use: choose Runtime > Restart "
            "session, then Runtime > Run all."
        )


def install_command() -> list[str]:
    """Return the pip command that installs what this Python lacks, and leaves its PyTorch alone.

    pip keeps what lies in the ranges of pyproject.toml. Each part of PyTorch is asked for in the
    version that is there, so that pip fails rather than replaces it.

    Example:
        >>> [word for word in install_command() if word.startswith(("diffusers", "torch"))]
        ['diffusers>=...', 'torch==...']
    """
    wanted = [line for line in _project()["dependencies"] if _name(line) not in PROVIDED]
    present = {dist.name.lower(): dist.version for dist in importlib.metadata.distributions()}
    held = [
        f"{name}=={version}"
        for name, version in sorted(present.items())
        if name.startswith(("torch", "triton"))
    ]
    return [sys.executable, "-m", "pip", "install", "--quiet", *wanted, *held]


def first_cell(address: str) -> str:
    """Return the source of a notebook's first code cell; without an address, it asks for one.

    Example:
        >>> "https://github.com/me/mine" in first_cell("https://github.com/me/mine")
        True
        >>> print(first_cell(""))
        import sys
        ...
    """
    return WITH_ADDRESS.format(address=address) if address else WITHOUT_ADDRESS


def read_address() -> str:
    """Return the repository's address, from [project.urls] of pyproject.toml; "" if there is none.

    Raises:
        ValueError: it is not on GitHub, where Colab opens notebooks from.
    """
    address = _project().get("urls", {}).get("Repository", "").removesuffix("/")
    if address and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(
            f"{address!r} is not where Colab opens notebooks from: give Repository in "
            "pyproject.toml the form https://github.com/owner/name."
        )
    return address


def write_badges() -> str:
    """Link the README and each notebook to Colab, and tell each first cell the address.

    Returns:
        What was done, or what is to be done first, in a sentence.
    """
    address = read_address()
    if not address:
        return (
            "There are no badges yet: set Repository under [project.urls] in pyproject.toml to the "
            "repository's page on GitHub, then run make badges again."
        )
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    notebooks += sorted((ROOT / "notebooks/solutions").glob("*.ipynb"))
    for path in notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        _link_notebook(notebook, address, path.relative_to(ROOT).as_posix())
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    text = re.sub(
        rf"(\]\((notebooks/[\w/]+\.ipynb)\))( {_badge()})?",
        lambda link: f"{link[1]} {_badge(address, link[2])}",
        readme.read_text(encoding="utf-8"),
    )
    readme.write_text(text, encoding="utf-8")
    return f"{len(notebooks)} notebooks and the README open in Colab from {address}."


def _link_notebook(notebook: dict, address: str, path: str) -> None:
    """Put the badge below the notebook's title and the address into its first cell."""
    title, *cells = notebook["cells"]
    top = rf"\A(# .+\n)(\n{_badge()}\n)?"
    text = re.sub(top, rf"\1\n{_badge(address, path)}\n", "".join(title["source"]))
    title["source"] = text.splitlines(keepends=True)
    for cell in cells:
        if "colab" in cell["metadata"].get("tags", []):
            cell["source"] = first_cell(address).splitlines(keepends=True)


def _badge(address: str = "", path: str = "") -> str:
    """Return the link to a notebook in Colab; without an address, a pattern that finds any."""
    picture = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
    if not address:
        return re.escape(picture) + r"\([^)\s]+\)"
    return f"{picture}({COLAB}/github/{address.split('/', 3)[3]}/blob/main/{path})"


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _versions_in_use() -> dict[str, str]:
    """Return the versions on disk of what this Python has already imported."""
    packages = importlib.metadata.packages_distributions()
    names = {name for module in packages.keys() & sys.modules.keys() for name in packages[module]}
    return {name: importlib.metadata.version(name) for name in names}


if __name__ == "__main__":
    print(write_badges())
