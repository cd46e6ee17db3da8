"""One list of dependencies: every other way to install the project keeps in step with it."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(line) for line in sum(EXTRAS.values(), start=PROJECT["dependencies"])]

# What PyTorch's builds for NVIDIA GPUs need, each its own: only PyTorch can say which versions.
CUDA = re.compile(r"(cuda|nvidia)-.+|triton")


def read_constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if line[:1] != "#"]
    assert all(pins), "every line pins one exact version, without a local suffix such as +cpu"
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_each_dependency_has_a_range_and_its_pin_lies_inside(requirement):
    assert {">="} < {clause.operator for clause in requirement.specifier} | {"<"}
    assert read_constraints()[canonicalize_name(requirement.name)] in requirement.specifier


def test_constraints_cover_the_whole_closure():
    pins = read_constraints()
    todo, seen = {"effective-diffusion"}, set()
    extras = {"": "", **dict.fromkeys(EXTRAS, "")}
    while todo:
        name = todo.pop()
        seen.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            wanted = extras if name == "effective-diffusion" else [""]
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted):
                todo |= {canonicalize_name(requirement.name)} - seen
        todo -= set(filter(CUDA.fullmatch, todo))
    missing = seen - set(pins) - {"effective-diffusion"}
    assert not missing


def test_what_is_installed_is_what_constraints_name():
    pins = read_constraints()  # of which a newer Python needs fewer
    found = {canonicalize_name(one.name): one.version for one in importlib.metadata.distributions()}
    installed = {name: Version(Version(found[name]).public) for name in found.keys() & pins}
    assert installed == {name: pins[name] for name in installed}
    assert {"torch", "diffusers", "transformers", "pytest"} <= installed.keys()


def test_conda_installs_the_project_with_the_same_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, pip_part = environment["dependencies"]
    assert Version(python.removeprefix("python=")) in SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert pip_part == {"pip": ["-c constraints.txt", f"-e .[{','.join(EXTRAS)}]"]}


def test_make_and_readme_install_the_same_extras():
    for name in ("Makefile", "README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"\.\[([\w,]+)\]", text)) == {",".join(EXTRAS)}


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_what_they_use_and_install_what_make_does(path):
    text = path.read_text(encoding="utf-8")
    steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert actions and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one) for one in actions)
    assert set(re.findall(r"\.\[([\w,]+)\]", text)) <= {",".join(EXTRAS)}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"run: make (\w+)", text)) <= targets


@pytest.mark.parametrize(
    ("fails_on", "advice"),
    [("version_info", "Python 3.11 or newer is needed"), ("ensurepip", "python3-venv")],
)
def test_make_says_what_to_install(tmp_path, fails_on, advice):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$2" in *{fails_on}*) exit 1;; esac\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"]}
    command = ["make", "lab", f"PYTHON={python}"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode != 0
    assert advice in run.stdout
    assert not (tmp_path / ".venv").exists()
