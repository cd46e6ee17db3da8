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
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Made for Colab's page and its GPU: another version of these breaks it (colabtools issue 4595).
PROVIDED = ("ipywidgets", "jupyterlab", "torch")
PYTORCH = ("torch", "torchaudio", "torchvision", "triton")
COLAB = "https://colab.research.google.com"
MODELS = ("tiny-portraits", "stable-diffusion-v1-5")  # of helpers.MODELS: embedded, and real
FIRST_CELL = """\
import importlib.util
import os
import runpy
import sys
from pathlib import Path

repository = "{address}"  # @param {{type: "string"}}
# @markdown On a GPU, such as Colab's T4, the real model is one choice away:
model = "{models[0]}"  # @param ["{models[0]}", "{models[1]}"]
if "google.colab" in sys.modules:
    os.environ["TUTORIAL_MODEL"] = model
if "google.colab" in sys.modules and not importlib.util.find_spec("helpers"):
    for archive in Path().glob("*.zip"):
        print(os.popen(f"python3 -m zipfile -e '{{archive}}' tutorial 2>&1").read(), end="")
    clone = f"rm -rf tutorial; git clone --quiet --depth=1 '{{repository}}' tutorial 2>&1"
    if repository and not list(Path().glob("**/tools/colab.py")):
        print(os.popen(clone).read(), end="")
    if not (found := sorted(Path().glob("**/tools/colab.py"))):
        sys.exit("Give the repository's address above, or upload its zip to Files; then run again.")
    runpy.run_path(str(found[0]))["prepare"]()"""


def prepare() -> None:
    """Install what Colab lacks, and let it find the helpers.

    Raises:
        RuntimeError: pip found no versions that go together with Colab's PyTorch, or replaced
            something that was in use.
    """
    before = _versions_in_use()
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder) / "constraints.txt"
        limits.write_text("\n".join(constraints()), encoding="utf-8")
        command = [*install_command(), "--constraint", str(limits)]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(
            f"Colab lacks something that pip could not install beside its PyTorch: {run.stderr}"
        )
    after = _versions_in_use()
    replaced = sorted(name for name, version in before.items() if after.get(name) != version)
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
    held = [f"{name}=={version}" for name, version in _present().items() if name in PYTORCH]
    return [sys.executable, "-m", "pip", "install", "--quiet", *wanted, *held]


def constraints() -> list[str]:
    """Return the lines that hold pip to the versions the tests pass with, where that is possible.

    What is here in a version that will do stays as it is, and what is PROVIDED is not touched.
    huggingface_hub stays below 2 where Colab's own gradio, which fails with 2, brought a 1.

    Example:
        >>> [line for line in constraints() if line.startswith("torch==")]
        []
    """
    present, pins = _present(), dict(line.split("==") for line in _pinned())
    lines = []
    for requirement in _project()["dependencies"]:
        name = _name(requirement)
        least = re.search(r">=([\d.]+)", requirement)
        here = present.get(name.lower())
        stays = here and least and _order(here) >= _order(least[1])
        if name not in PROVIDED and not stays:
            lines.append(f"{name}=={pins[name]}")
    hub = present.get("huggingface_hub", present.get("huggingface-hub", ""))
    return lines + ["huggingface_hub<2"] * hub.startswith("1.")


def first_cell(address: str) -> str:
    """Return the source of a notebook's first code cell: on Colab, a form.

    Its fields are the address, where that is not known yet, and the model, which the next cell
    reads from the environment.

    Example:
        >>> 'repository = "https://github.com/me/mine"' in first_cell("https://github.com/me/mine")
        True
    """
    return FIRST_CELL.format(address=address, models=MODELS)


def read_address() -> str:
    """Return the repository's address, from [project.urls] of pyproject.toml; "" if there is none.

    Raises:
        ValueError: it is not on GitHub, where Colab opens notebooks from.
    """
    address = _project().get("urls", {}).get("Repository", "")
    address = address.removesuffix("/").removesuffix(".git")  # as GitHub's clone link ends
    if address and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(
            f"{address!r} is not where Colab opens notebooks from: give Repository in "
            "pyproject.toml the form https://github.com/owner/name."
        )
    return address


def write_badges() -> str:
    """Write each notebook's first cell; with an address, link the README and notebooks to Colab.

    Returns:
        What was done, or what is still to be done, in a sentence.
    """
    address = read_address()
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
        lambda link: f"{link[1]} {_badge(address, link[2])}" if address else link[1],
        readme.read_text(encoding="utf-8"),
    )
    readme.write_text(text, encoding="utf-8")
    if not address:
        return (
            f"{len(notebooks)} first cells ask for the address, and there are no badges yet: set "
            "Repository under [project.urls] in pyproject.toml to the repository's page on GitHub, "
            "then run make badges again."
        )
    return f"{len(notebooks)} notebooks and the README open in Colab from {address}."


def _link_notebook(notebook: dict, address: str, path: str) -> None:
    """Put the badge below the notebook's title and the address into its first cell."""
    title, *cells = notebook["cells"]
    top, badge = rf"\A(# .+\n)(\n{_badge()}\n)?", f"\n{_badge(address, path)}\n"
    text = re.sub(top, rf"\1{badge if address else ''}", "".join(title["source"]))
    title["source"] = text.splitlines(keepends=True)
    for cell in cells:
        if "colab" in cell["metadata"].get("tags", []):
            cell["source"] = first_cell(address).splitlines(keepends=True)
    notebook["metadata"] |= {"accelerator": "GPU", "colab": {"gpuType": "T4"}}


def _badge(address: str = "", path: str = "") -> str:
    """Return the link to a notebook in Colab; without an address, a pattern that finds any."""
    picture = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
    if not address:
        return re.escape(picture) + r"\([^)\s]+\)"
    return f"{picture}({COLAB}/github/{address.split('/', 3)[3]}/blob/{_branch()}/{path})"


def _branch() -> str:
    """The branch that is checked out here, which the badges lead to; main outside of a clone."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--abbrev-ref", "HEAD"]
    name = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return name if name not in ("", "HEAD") else "main"


def _present() -> dict[str, str]:
    found = importlib.metadata.distributions()
    return dict(sorted((dist.name.lower(), dist.version) for dist in found))


def _pinned() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "==" in line and not line.startswith("#")]


def _order(version: str) -> list[int]:
    """What versions are compared by: their numbers, one after the other."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


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
