"""Set up the notebooks on Google's Colab, and link them to it.

Colab opens a single notebook. Its first code cell clones the repository into ./tutorial, unless
that is there, and calls `prepare`; on any other machine that cell does nothing. `prepare` runs
before anything is installed, so this file needs only what every Colab has.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Built for Colab's page and its GPU: other versions of these break it (colabtools issue 4595).
PROVIDED = {"ipython", "ipywidgets", "jupyter-client", "jupyterlab", "torch"}
PYTORCH = ("torch", "torchaudio", "torchvision", "triton")
COLAB = "https://colab.research.google.com"
BADGE = re.escape(f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]") + r"\([^)\s]+\)"
CLONED = ("<address of this repository>", "<its folder>")  # in the README without an address
MODELS = ("tiny-portraits", "stable-diffusion-v1-5")  # the embedded model, and a full-size one
FIRST_CELL = """\
import runpy, subprocess, sys

repository = "{address}"  # @param {{type: "string"}}
model = "{models[0]}"  # @param ["{models[0]}", "{models[1]}"]
if "google.colab" in sys.modules:
    subprocess.run(["git", "clone", "-q", "--depth=1", "--", repository, "tutorial"])
    runpy.run_path("tutorial/tools/colab.py")["prepare"](model)"""


def prepare(model: str) -> None:
    """Choose the model, install what Colab lacks and make the helpers importable.

    Raises:
        RuntimeError: pip found no versions that work with Colab's PyTorch, or it replaced a
            package that had been imported.
    """
    os.environ["TUTORIAL_MODEL"] = model  # the notebook's next cell reads it
    if str(ROOT) in sys.path:
        return
    found = importlib.metadata.distributions()
    installed = {canonicalize_name(package.name): package.version for package in found}
    before, pip = imported_versions(), [sys.executable, "-m", "pip"]
    command = [*pip, "install", "--quiet", *requirements(installed)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"pip found no versions that work with Colab's PyTorch: {run.stderr}")
    after = imported_versions()
    if "torchao" in installed:  # PEFT refuses Colab's old version, and nothing here needs it
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchao"])
    if replaced := sorted(name for name in before if after.get(name) != before[name]):
        raise RuntimeError(
            f"pip replaced {', '.join(replaced)}, which had been imported: choose Runtime > "
            "Restart session, then Runtime > Run all."
        )
    sys.path.insert(0, str(ROOT))


def requirements(installed: dict[str, str]) -> list[str]:
    """Return what to ask pip for: PyTorch as it is, and the tested version of what is missing.

    A package whose version suits is not mentioned, so that pip keeps it. Where Colab has
    huggingface_hub 1, which its gradio needs, it stays below 2.

    Args:
        installed: the version of each installed package, by its normalized name.
    """
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = map(Requirement, (line for line in lines if not line.startswith("#")))
    tested = {canonicalize_name(pin.name): str(pin) for pin in pins}
    wanted = [f"{name}=={installed[name]}" for name in PYTORCH if name in installed]
    for requirement in map(Requirement, read_project()["dependencies"]):
        name = canonicalize_name(requirement.name)
        version = installed.get(name)
        if name == "huggingface-hub" and version and version.startswith("1."):
            wanted.append(f"{requirement},<2")
        elif name not in PROVIDED and (version is None or version not in requirement.specifier):
            wanted.append(tested[name])
    return wanted


def imported_versions() -> dict[str, str]:
    """Return the installed versions of the packages that this process has imported."""
    packages = importlib.metadata.packages_distributions()
    names = {name for module in packages.keys() & sys.modules.keys() for name in packages[module]}
    return {name: importlib.metadata.version(name) for name in names}


def read_project() -> dict:
    """Read the [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_address() -> str:
    """Return the repository's address from [project.urls] of pyproject.toml, or "".

    Raises:
        ValueError: the address is not one on GitHub, where Colab opens notebooks from.
    """
    address = read_project().get("urls", {}).get("Repository", "")
    address = address.removesuffix("/").removesuffix(".git")  # as GitHub's clone link ends
    if address and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(
            f"Colab cannot open notebooks from {address!r}: write Repository in pyproject.toml as "
            "https://github.com/owner/name."
        )
    return address


def first_cell(address: str) -> str:
    """Return the source of each notebook's first code cell, which Colab shows as a form."""
    return FIRST_CELL.format(address=address, models=MODELS)


def write_badges() -> str:
    """Write the first cells and, given an address, links to Colab; return a sentence about it."""
    address = read_address()
    folder = ROOT / "notebooks"
    notebooks = [*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb")]  # no checkpoints
    for path in notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        title = notebook["cells"][0]
        link = rf"\1\n{badge(address, path)}\n" if address else r"\1"
        text = re.sub(rf"\A(# .+\n)(\n{BADGE}\n)?", link, "".join(title["source"]))
        title["source"] = text.splitlines(keepends=True)
        for cell in notebook["cells"]:
            if "colab" in cell["metadata"].get("tags", []):
                cell["source"] = first_cell(address).splitlines(keepends=True)
        notebook["metadata"] |= {"accelerator": "GPU", "colab": {"gpuType": "T4"}}
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(link_readme(readme.read_text(encoding="utf-8"), address), encoding="utf-8")
    if not address:
        return (
            f"Wrote the first cells of {len(notebooks)} notebooks, without links to Colab: set "
            "Repository under [project.urls] in pyproject.toml to the address on GitHub first."
        )
    return f"Linked {len(notebooks)} notebooks and the README to Colab, from {address}."


def link_readme(text: str, address: str) -> str:
    """Return the README with the address to clone, and links to Colab and to the site."""
    owner, _, name = address.removeprefix("https://github.com/").partition("/")
    site, shields = f"https://{owner}.github.io/{name}/", "https://img.shields.io/badge"
    badges = [
        badge(address, ROOT / "notebooks/00_start_here.ipynb"),
        f"[![Read as a site]({shields}/read-as_a_site-blue)]({site})",
        f"[![Generate in the browser]({shields}/generate-in_the_browser-blue)]({site}draw/)",
    ]
    shown = " ".join(badges) + "\n" if address else ""
    text = re.sub(r"(?<=<!-- badges -->\n)(\[.*\n)?", lambda _: shown, text)
    clone, folder = (address, name) if address else CLONED
    return re.sub(r"(git clone --depth 1 ).+(\s+cd ).+", rf"\g<1>{clone}\g<2>{folder}", text)


def badge(address: str, path: Path) -> str:
    """Return the link that opens a notebook of the repository's main branch in Colab."""
    name = address.removeprefix("https://github.com/")
    target = f"{COLAB}/github/{name}/blob/main/{path.relative_to(ROOT).as_posix()}"
    return f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({target})"


if __name__ == "__main__":
    print(write_badges())
