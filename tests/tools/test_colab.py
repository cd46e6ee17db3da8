"""Google Colab: what the first cell of a notebook does there and elsewhere; the links to Colab."""

import inspect
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import nbformat
import packaging
import pip
import pytest
from packaging.requirements import Requirement

from helpers import MODELS, load_pipeline
from tools import colab

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Colab is Linux")
ROOT = colab.ROOT
ADDRESS = "https://github.com/someone/some-tutorial"
ON_COLAB = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('colab')\n"
STUB = "def prepare(model): print('prepared for', model)"
# Colab's packages of June 2026, and those that its kernel has imported before the first cell runs.
PRESENT = {"torch": "2.11.0+cu128", "torchvision": "0.26.0+cu128", "triton": "3.6.0"}
PRESENT |= {"accelerate": "1.2.0", "numpy": "2.0.2", "packaging": "26.0", "ipywidgets": "7.7.1"}
IMPORTED = {"matplotlib": "3.10.0", "numpy": "2.1.3", "pandas": "2.2.3", "pillow": "11.3.0"}
IMPORTED |= {"psutil": "5.9.5", "tqdm": "4.67.3"}


def run_cell(repository, folder, python=sys.executable, before="", **environment):
    """Run the first cell as Colab would, with a repository chosen in its form."""
    code = ON_COLAB + before + colab.FIRST_CELL.format(address=repository, models=colab.MODELS)
    environment = {"PATH": os.environ["PATH"]} | environment
    command = [python, "-c", code + "\nprint(sys.path[0])"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def commit(folder, branch="main"):
    git = ["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "-qb", branch], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)


def test_anywhere_else_the_first_cell_does_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    before = dict(os.environ)
    exec(colab.first_cell(ADDRESS), {})
    assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_uploaded_and_unpacked_is_used(tmp_path):
    (tmp_path / "tutorial/tools").mkdir(parents=True)
    (tmp_path / "tutorial/tools/colab.py").write_text(STUB)
    assert run_cell("", tmp_path).stdout.startswith("prepared for tiny-portraits\n")


def test_an_address_is_cloned_once(tmp_path):
    (tmp_path / "it's mine/tools").mkdir(parents=True)
    (tmp_path / "it's mine/tools/colab.py").write_text(STUB)
    commit(tmp_path / "it's mine")
    run = run_cell((tmp_path / "it's mine").as_uri(), tmp_path)
    assert run.stdout.startswith("prepared"), run.stderr
    again = run_cell("", tmp_path)
    assert again.stdout.startswith("prepared"), again.stderr


@pytest.mark.parametrize("repository", ["", "file:///nowhere", "--version"])
def test_what_cannot_be_fetched_is_explained_by_git(tmp_path, repository):
    run = run_cell(repository, tmp_path)
    assert "fatal: " in run.stderr and run.returncode
    assert list(tmp_path.iterdir()) == []


def test_the_choice_of_models_begins_with_the_default_one():
    line = re.search(r'^model = "(.+)"  # @param (\[.+\])$', colab.first_cell(""), re.M)
    assert json.loads(line[2])[0] == line[1]
    assert line[1] == inspect.signature(load_pipeline).parameters["model"].default
    assert set(json.loads(line[2])) <= MODELS.keys()


# What is installed


def test_pytorch_stays_and_what_is_missing_or_unsuitable_gets_the_tested_version():
    installed = dict.fromkeys(map(str, {line.name for line in colab.requirements()}), "9999")
    installed |= IMPORTED | {"torch": "2.11.0+cu128", "transformers": "1.0"}
    limits = {line.name: line.specifier for line in map(Requirement, colab.constraints(installed))}
    assert str(limits["torch"]) == "==2.11.0+cu128"
    assert not limits.keys() & IMPORTED.keys()
    assert {"transformers", "diffusers"} <= limits.keys()  # too old, and too new
    for hub, stays_below_2 in {"1.32.0": True, "2.4.0": False}.items():  # gradio needs a 1
        assert ("huggingface_hub<2" in colab.constraints({"huggingface-hub": hub})) is stays_below_2


def write_wheel(folder, name, version, requires=()):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"{name}.py": "", f"{info}/METADATA": metadata, f"{info}/WHEEL": tag}
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path


@pytest.fixture
def machine(tmp_path):
    """A Python with Colab's PyTorch, this repository to clone, and a folder of empty wheels."""
    for name in ("wheels", "content", "pip", "repository/tools"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "tools/colab.py"):
        (tmp_path / "repository" / name).write_bytes((ROOT / name).read_bytes())
    commit(tmp_path / "repository")
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name, version in PRESENT.items():
        zipfile.ZipFile(write_wheel(tmp_path, name, version)).extractall(packages)
    (packages / "packaging.py").unlink()
    (packages / "packaging").symlink_to(Path(packaging.__file__).parent)
    (tmp_path / "pip/pip").symlink_to(Path(pip.__file__).parent)
    for pin in map(Requirement, colab.constraints({})):  # the tested versions of what is needed
        write_wheel(
            tmp_path / "wheels", pin.name.replace("-", "_"), str(pin.specifier).removeprefix("==")
        )
    return tmp_path


def run_on(machine, before=""):
    """Run the first cell there, and return the run and what is installed afterwards."""
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(machine / "wheels")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment |= {"PYTHONPATH": str(machine / "pip"), "PIP_ROOT_USER_ACTION": "ignore"}
    python, address = machine / "venv/bin/python", (machine / "repository").as_uri()
    run = run_cell(address, machine / "content", python, before, **environment)
    found = (machine / "venv").glob("lib/python*/site-packages/*.dist-info")
    return run, dict(path.name.removesuffix(".dist-info").rsplit("-", 1) for path in found)


def test_colab_keeps_its_pytorch_and_gets_what_it_lacks(machine):
    write_wheel(machine / "wheels", "diffusers", "0.49.0")  # in the range, but never tested
    run, installed = run_on(machine, "import numpy, torch\n")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == str(machine / "content/tutorial")
    kept = {name: installed[name] for name in PRESENT if name != "accelerate"}
    assert kept == {name: PRESENT[name] for name in kept}
    assert installed["accelerate"] != PRESENT["accelerate"]  # older than the range
    assert installed["diffusers"] != "0.49.0" and "jupyterlab" not in installed
    assert run_on(machine)[1] == installed


def test_a_replaced_import_asks_for_a_restart(machine):
    run, _ = run_on(machine, "import accelerate\n")
    assert "RuntimeError: pip replaced accelerate, which had been imported" in run.stderr
    assert run_on(machine)[0].returncode == 0


def test_a_package_that_needs_another_pytorch_is_refused(machine):
    (wheel,) = (machine / "wheels").glob("accelerate-*")
    write_wheel(machine / "wheels", "accelerate", wheel.name.split("-")[1], ["torch>=2.12"])
    run, installed = run_on(machine)
    assert "RuntimeError: pip found no versions that work with Colab's PyTorch" in run.stderr
    assert installed == PRESENT


# The links


def set_address(address):
    text = (colab.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = re.sub(r"\[project\.urls\]\n(.+\n)*", "", text)
    text += f'[project.urls]\nRepository = "{address}"\n' if address else ""
    (colab.ROOT / "pyproject.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small copy of the repository, in place of it."""
    for path in (
        ROOT / "pyproject.toml",
        ROOT / "README.md",
        *ROOT.glob("notebooks/**/00_*.ipynb"),
    ):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    return tmp_path


def test_badges_link_to_colab_and_follow_the_address(project):
    commit(project, branch="workshop")
    set_address("")
    assert "without links to Colab" in colab.write_badges()
    files = [project / "README.md", *project.glob("notebooks/**/*.ipynb")]
    before = [path.read_bytes() for path in files]
    for address in ("https://github.com/old/name", f"{ADDRESS}.git", ADDRESS):
        set_address(address)
        colab.write_badges()
    start = "(https://colab.research.google.com/github/someone/some-tutorial/blob/workshop/"
    for path in project.glob("notebooks/**/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        (link,) = re.findall(r"Open in Colab\]\(.+\)\](\(.+\))", notebook.cells[0].source)
        assert link == f"{start}{path.relative_to(project).as_posix()})"
    readme = (project / "README.md").read_text("utf-8")
    assert f"{start}notebooks/00_start_here.ipynb)" in readme
    assert "(https://someone.github.io/some-tutorial/draw/)" in readme
    assert f"git clone --depth 1 {ADDRESS}\n    cd some-tutorial\n" in readme
    set_address("")
    colab.write_badges()
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize("address", ["git@github.com:me/mine.git", "https://example.org/me/mine"])
def test_an_address_that_colab_cannot_open_is_refused(project, address):
    set_address(address)
    with pytest.raises(ValueError, match="Colab cannot open notebooks from"):
        colab.write_badges()
