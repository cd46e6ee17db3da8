"""Colab: what its first cell does there, and that it does nothing elsewhere; the badges."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import nbformat
import pip
import pytest
from packaging.requirements import Requirement

from helpers import MODELS, load_pipeline
from tools import colab

ROOT = colab.ROOT
ADDRESS = "https://github.com/someone/some-tutorial"
ON_COLAB = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('colab')\n"
# What Colab has, as its published list says of June 2026, and what there is to install.
PRESENT = {"torch": "2.11.0+cu128", "torchvision": "0.26.0+cu128", "triton": "3.6.0"}
PRESENT |= {"accelerate": "1.13.0", "numpy": "2.0.2", "pandas": "2.2.2", "ipywidgets": "7.7.1"}
# What its kernel has imported before the first cell runs, in the versions of August 2026.
IN_USE = {"matplotlib": "3.10.0", "numpy": "2.1.3", "pandas": "2.2.3", "pillow": "11.3.0"}
IN_USE |= {"psutil": "5.9.5", "tqdm": "4.67.3"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of what the module reads and writes, which is then the repository."""
    copy = tmp_path / "project"
    for name in ("README.md", "pyproject.toml", "constraints.txt", "tools/colab.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "notebooks", copy / "notebooks")
    monkeypatch.setattr(colab, "ROOT", copy)
    return copy


def set_address(project, address):
    text = re.sub(r"\[project\.urls\]\n(.+\n)*", "", (project / "pyproject.toml").read_text())
    urls = f'[project.urls]\nRepository = "{address}"\n\n' if address else ""
    text = text.replace("[tool.setuptools", f"{urls}[tool.setuptools", 1)
    (project / "pyproject.toml").write_text(text)


# What may be used here in the versions that are there


def test_nothing_that_colab_has_in_use_need_be_replaced():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    asked = wanted.keys() & IN_USE.keys()
    assert len(asked) == len(IN_USE)
    assert {name for name in asked if IN_USE[name] not in wanted[name]} == set()


# The first cell


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_elsewhere_the_first_cell_does_nothing(address, monkeypatch):
    monkeypatch.setattr(os, "popen", None)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    before = dict(os.environ)
    exec(colab.first_cell(address), {})
    assert dict(os.environ) == before


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_the_first_cell_is_as_short_as_cells_should_be(address):
    lines = colab.first_cell(address).splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 100


def run_cell(code, folder):
    """Run the first cell on a Colab that has no helpers yet."""
    without = "sys.meta_path[:] = [one for one in sys.meta_path if 'editable' not in str(one)]\n"
    command = [sys.executable, "-c", ON_COLAB + without + code]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_on_colab_without_an_address_the_first_cell_says_what_to_do(tmp_path):
    run = run_cell(colab.first_cell(""), tmp_path)
    assert run.stderr.startswith("Give the repository's address above, or upload its zip")
    assert "Traceback" not in run.stderr


def test_on_colab_the_reason_of_a_clone_that_fails_is_shown(tmp_path):
    run = run_cell(colab.first_cell((tmp_path / "nothing").as_uri()), tmp_path)
    assert "fatal: " in run.stdout and "then run again" in run.stderr


PREPARED = "def prepare(): print('prepared')"


def test_on_colab_an_uploaded_zip_will_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine-main.zip", "w") as archive:
        archive.writestr("mine-main/tools/colab.py", PREPARED)
    assert run_cell(colab.first_cell(""), tmp_path).stdout == "prepared\n"


def test_on_colab_the_reason_of_a_zip_that_cannot_be_read_is_shown(tmp_path):
    (tmp_path / "mine (1).zip").write_bytes(b"PK, and half of the upload")
    run = run_cell(colab.first_cell(""), tmp_path)
    assert "File is not a zip file" in run.stdout and "then run again" in run.stderr


CHOSEN = "\nimport os\nprint(os.environ['TUTORIAL_MODEL'])"


def test_on_colab_the_model_is_a_choice_that_can_be_made_again(tmp_path):
    (tmp_path / "mine/tools").mkdir(parents=True)
    (tmp_path / "mine/tools/colab.py").write_text(PREPARED)
    cell = colab.first_cell("")
    other = cell.replace('model = "tiny-portraits"', 'model = "stable-diffusion-v1-5"')
    there = "\nimport types; sys.modules['helpers'] = module = types.ModuleType('helpers')"
    there += "\nmodule.__spec__ = 'any'"
    code = cell + CHOSEN + there + "\n" + other + CHOSEN
    lines = run_cell(code, tmp_path).stdout.splitlines()
    assert lines == ["prepared", "tiny-portraits", "stable-diffusion-v1-5"]


def test_on_colab_one_chooses_between_the_embedded_model_and_the_real_one():
    line = re.search(r'^model = "(.+)"  # @param (\[.+\])$', colab.first_cell(""), re.M)
    assert json.loads(line[2]) == [line[1], "stable-diffusion-v1-5"]
    assert line[1] == inspect.signature(load_pipeline).parameters["model"].default
    assert set(json.loads(line[2])) <= MODELS.keys()


def test_on_colab_a_clone_that_broke_off_is_made_anew(tmp_path):
    (tmp_path / "tutorial/.git").mkdir(parents=True)
    (tmp_path / "mine/tools").mkdir(parents=True)
    (tmp_path / "mine/tools/colab.py").write_text(PREPARED)
    git = ["git", "-C", tmp_path / "mine", "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "mine").rename(tmp_path / "elsewhere.git")
    run = run_cell(colab.first_cell((tmp_path / "elsewhere.git").as_uri()), tmp_path)
    assert run.stdout == "prepared\n", run.stderr


def write_wheel(folder, name, version, requires):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"{name}.py": "", f"{info}/METADATA": metadata, f"{info}/WHEEL": tag}
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(file, text)


class Colab:
    """A Python like Colab's: its own PyTorch, its own pip, and an index with newer versions."""

    def __init__(self, folder, project, accelerate_requires):
        self.folder, self.wheels, self.content = folder, folder / "wheels", folder / "content"
        self.wheels.mkdir()
        self.content.mkdir()
        pins = re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
        for name, version in pins:
            requires = accelerate_requires if name == "accelerate" else []
            write_wheel(self.wheels, name.replace("-", "_"), version, requires)
        venv.create(folder / "venv", with_pip=False)
        (folder / "pip").mkdir()
        (folder / "pip/pip").symlink_to(Path(pip.__file__).parent)
        (self.packages,) = (folder / "venv").glob("lib/python*/site-packages")
        for name, version in PRESENT.items():
            write_wheel(folder, name, version, [])
            zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl").extractall(self.packages)
        set_address(project, ADDRESS)
        git = ["git", "-C", project, "-c", "user.name=x", "-c", "user.email=x"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
            subprocess.run([*git, *command], check=True)
        self.cell = colab.first_cell(project.as_uri())

    def run(self, code):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder / "pip")}
        environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        command = [self.folder / "venv/bin/python", "-c", ON_COLAB + code]
        return subprocess.run(
            command, cwd=self.content, env=environment, capture_output=True, text=True
        )

    def installed(self):
        folders = (path.name.removesuffix(".dist-info") for path in self.packages.glob("*-info"))
        return dict(folder.rsplit("-", 1) for folder in folders)


def test_on_colab_only_what_is_missing_is_installed_and_pytorch_stays(tmp_path, project):
    machine = Colab(tmp_path, project, ["torch>=2.0"])
    run = machine.run(f"{machine.cell}\nprint(sys.path[0])")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == str(machine.content / "tutorial")
    installed = machine.installed()
    kept = {name: installed[name] for name in PRESENT if name != "accelerate"}
    assert kept == {name: PRESENT[name] for name in kept}
    assert installed["accelerate"] != PRESENT["accelerate"]  # too old for the ranges
    assert {"diffusers", "transformers", "safetensors"} <= installed.keys()
    assert "jupyterlab" not in installed
    again = machine.run(machine.cell)
    assert (again.returncode, again.stderr) == (0, "")
    assert machine.installed() == installed


def test_on_colab_pip_fails_rather_than_replaces_pytorch(tmp_path, project):
    machine = Colab(tmp_path, project, ["torch>=2.12"])
    run = machine.run(machine.cell)
    assert "RuntimeError: Colab lacks something that pip could not install" in run.stderr
    assert "torch==2.11.0+cu128" in run.stderr
    assert machine.installed() == PRESENT


def test_on_colab_what_is_in_use_and_stays_is_no_trouble(tmp_path, project):
    machine = Colab(tmp_path, project, [])
    run = machine.run(f"import numpy, pandas, torch\n{machine.cell}")
    assert (run.returncode, run.stderr) == (0, "")


def test_on_colab_the_versions_are_those_that_the_tests_pass_with(tmp_path, project):
    machine = Colab(tmp_path, project, [])
    write_wheel(machine.wheels, "diffusers", "0.49.0", [])  # in the range, and not tried
    machine.run(machine.cell)
    pins = dict(line.split("==") for line in colab._pinned())
    assert machine.installed()["diffusers"] == pins["diffusers"]


@pytest.mark.parametrize(("hub", "held"), [("1.27.0", True), ("2.4.0", False), (None, False)])
def test_the_hubs_library_is_held_below_2_where_gradio_needs_it(monkeypatch, hub, held):
    monkeypatch.setattr(colab, "_present", lambda: {"huggingface_hub": hub} if hub else {})
    assert ("huggingface_hub<2" in colab.constraints()) is held


def test_a_newer_version_than_the_pin_is_left_alone(monkeypatch):
    monkeypatch.setattr(colab, "_present", lambda: {"diffusers": "0.100.0", "accelerate": "1.2"})
    names = [line.split("==")[0] for line in colab.constraints()]
    assert "diffusers" not in names and "accelerate" in names


def test_on_colab_what_was_replaced_in_use_asks_for_a_restart(tmp_path, project):
    machine = Colab(tmp_path, project, [])
    run = machine.run(f"import accelerate, pandas\n{machine.cell}")
    assert "RuntimeError: accelerate had to be replaced while in use" in run.stderr
    assert machine.run(machine.cell).returncode == 0


# The address and the badges


def test_each_notebooks_first_cell_knows_the_address():
    for path in colab.ROOT.glob("notebooks/**/[!.]*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if "colab" in cell.metadata.get("tags", []):
                assert cell.source == colab.first_cell(colab.read_address())


def test_without_an_address_there_are_no_badges_and_the_first_cells_ask_for_it(project):
    path = project / "notebooks/00_start_here.ipynb"
    set_address(project, "")
    colab.write_badges()
    before = path.read_text(), (project / "README.md").read_text()
    for address in (ADDRESS, ""):
        set_address(project, address)
        said = colab.write_badges()
        (cell,) = (c for c in nbformat.read(path, 4).cells if "colab" in c.metadata.get("tags", []))
        assert cell.source == colab.first_cell(address)
    assert "set Repository under [project.urls]" in said
    assert before == (path.read_text(), (project / "README.md").read_text())


@pytest.mark.parametrize("address", ["git@github.com:me/mine.git", "https://example.org/me/mine"])
def test_an_address_that_colab_cannot_open_is_refused(project, address):
    set_address(project, address)
    with pytest.raises(ValueError, match="is not where Colab opens notebooks from"):
        colab.write_badges()


def test_githubs_clone_link_will_do(project):
    set_address(project, f"{ADDRESS}.git")
    assert colab.read_address() == ADDRESS


def test_badges_name_the_branch_that_is_checked_out(project):
    set_address(project, ADDRESS)
    subprocess.run(["git", "-C", project, "init", "-q", "-b", "workshop"], check=True)
    git = ["git", "-C", project, "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    colab.write_badges()
    assert "/blob/workshop/notebooks/00_start_here.ipynb" in (project / "README.md").read_text()


def test_badges_lead_to_colab_and_follow_the_address(project):
    notebooks = [*project.glob("notebooks/*.ipynb"), *project.glob("notebooks/solutions/*.ipynb")]
    for address in ("https://github.com/old/name", ADDRESS, ADDRESS):  # twice is like once
        set_address(project, address)
        assert address in colab.write_badges()
        owner_and_name = address.removeprefix("https://github.com/")
        link = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/"
        for path in notebooks:
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook)
            title, empty, badge, *_ = notebook.cells[0].source.splitlines()
            assert title.startswith("# ") and empty == ""
            assert badge.startswith("[![Open in Colab](")
            assert badge.endswith(f"({link}{path.relative_to(project / 'notebooks').as_posix()})")
            assert notebook.cells[0].source.count("Open in Colab") == 1
            (first,) = (c for c in notebook.cells if "colab" in c.metadata.get("tags", []))
            assert first.source == colab.first_cell(address)
        readme = (project / "README.md").read_text()
        linked = set(re.findall(r"\]\(notebooks/(\w+)\.ipynb\)", readme))
        assert set(re.findall(rf"\({link}(\w+)\.ipynb\)", readme)) == linked


def test_badges_leave_the_rest_of_a_notebook_as_it_was(project):
    set_address(project, ADDRESS)
    path = project / "notebooks/00_start_here.ipynb"
    before = json.loads(path.read_text())
    colab.write_badges()
    after = json.loads(path.read_text())
    changed = [new for old, new in zip(before["cells"], after["cells"], strict=True) if old != new]
    title, colab_cell = changed
    assert title == after["cells"][0] and colab_cell["metadata"]["tags"] == ["colab"]
    assert before | {"cells": []} == after | {"cells": []}
