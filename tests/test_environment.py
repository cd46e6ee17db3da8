"""Every way to install the tutorial installs the same packages, and all that the code imports."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sources import imported

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = importlib.metadata.packages_distributions()
READER = [Requirement(line) for line in PROJECT["dependencies"]]
REQUIREMENTS = [*READER, *(Requirement(line) for lines in EXTRAS.values() for line in lines)]
# Only PyTorch knows which versions of these its builds for CUDA need.
CUDA = re.compile(r"(cuda|nvidia)-.+|triton")


def read_constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): Version(str(pin.specifier)[2:]) for pin in pins}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_each_dependency_has_both_bounds_and_its_pin_lies_between(requirement):
    assert {clause.operator for clause in requirement.specifier} == {">=", "<"}
    assert read_constraints()[canonicalize_name(requirement.name)] in requirement.specifier


def test_constraints_cover_everything_that_is_installed_with_the_tutorial():
    todo, seen = {canonicalize_name(line.name) for line in REQUIREMENTS}, set()
    while todo:
        name = todo.pop()
        seen.add(name)
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo |= {canonicalize_name(needed.name)} - seen
        todo -= set(filter(CUDA.fullmatch, todo))
    others = {"appnope", "colorama", "pywinpty"}  # of macOS and Windows
    assert not (seen | others) - read_constraints().keys()


@pytest.mark.parametrize(
    ("pattern", "declared"),
    [
        ("helpers/**/*.py", READER),
        ("labs/[!f]*/**/*.py", READER),
        ("labs/f[io]*/**/*.py", READER),  # all but labs/fast
        ("notebooks/0[!6]*.ipynb", READER),
        ("notebooks/1*.ipynb", READER),
        ("[lt]*/**/*.py", REQUIREMENTS),
        ("notebooks/**/[!.]*.ipynb", REQUIREMENTS),
    ],
)
def test_what_is_imported_is_declared(pattern, declared):
    names = {canonicalize_name(requirement.name) for requirement in declared}
    ours = {path.stem for path in [*ROOT.iterdir(), *ROOT.glob("tests/shared/*.py")]}
    ours |= sys.stdlib_module_names | {"pip"}
    for path in ROOT.glob(pattern):
        for module in {top for top, *_ in imported(path)} - ours:
            found = {canonicalize_name(name) for name in PACKAGES.get(module, [module])}
            assert found & names, f"{path.relative_to(ROOT)} imports {module}"


def test_readme_make_and_conda_name_extras_and_targets_that_exist():
    for name in ("Makefile", "README.md", "environment.yml", "docs/teaching/README.md"):
        extras = re.findall(r"\.\[([\w,]+)\]", (ROOT / name).read_text(encoding="utf-8"))
        assert set(",".join(extras).split(",")) - {""} <= EXTRAS.keys()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/teaching/*.md"), *ROOT.glob(".github/*/*")]:
        called = re.findall(r"(?:    |`|run: )make ([a-z]+)", path.read_text(encoding="utf-8"))
        assert set(called) <= set(targets), path.name


def test_no_file_names_a_folder_of_somebodys_machine():
    command = ["git", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    if not listed:
        pytest.skip("this is not a clone, so git does not list its files")
    folder = re.compile(r"(?<![\w./])/(home|root|work|Users|tmp|opt|mnt)/\w|\b[A-Z]:\\\\?Users")
    texts = {".json", ".py", ".toml", ".yml", ".md", ".txt", ".ipynb"}
    for path in (ROOT / name for name in listed):
        if path.suffix in texts and path.exists():
            assert not folder.search(path.read_text(encoding="utf-8")), path
