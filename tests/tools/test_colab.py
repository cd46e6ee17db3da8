"""Google Colab: what the first cell of a notebook does there and elsewhere; the links to Colab."""

import importlib.metadata
import inspect
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import MODELS, load_pipeline
from tools import colab

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Colab is Linux")
ROOT = colab.ROOT
ADDRESS = "https://github.com/someone/some-tutorial"
ON_COLAB = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('colab')\n"
STUB = "def prepare(model): print('prepared for', model)"


def run_cell(repository, folder):
    """Run the first cell as Colab would, with a repository chosen in its form."""
    code = ON_COLAB + colab.FIRST_CELL.format(address=repository, models=colab.MODELS)
    command, variables = [sys.executable, "-c", code], {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


def test_anywhere_else_the_first_cell_does_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    before = dict(os.environ)
    exec(colab.first_cell(ADDRESS), {})
    assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())


def test_an_address_is_cloned_once_and_an_uploaded_folder_is_used(tmp_path):
    repository, content = tmp_path / "it's mine", tmp_path / "content"
    (repository / "tools").mkdir(parents=True)
    (repository / "tools/colab.py").write_text(STUB, encoding="utf-8")
    git = ["git", "-C", repository, "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    content.mkdir()
    for address in (repository.as_uri(), ""):
        run = run_cell(address, content)
        assert run.stdout == "prepared for tiny-portraits\n", run.stderr


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


def test_pytorch_stays_and_what_is_missing_or_unsuitable_gets_the_tested_version():
    needed = [canonicalize_name(Requirement(line).name)
              for line in colab.read_project()["dependencies"]]  # fmt: skip
    installed = dict.fromkeys(needed, "9999") | {"numpy": "2.1.3", "pillow": "11.3.0"}
    del installed["accelerate"]
    installed |= {"torch": "2.11.0+cu128", "triton": "3.6.0", "transformers": "1.0"}
    wanted = {line.name: line.specifier for line in map(Requirement, colab.requirements(installed))}
    assert (wanted["torch"], wanted["triton"]) == ("==2.11.0+cu128", "==3.6.0")
    assert {"accelerate", "transformers", "diffusers"} <= wanted.keys()  # missing, too old, too new
    assert not wanted.keys() & {"numpy", "pillow", "jupyterlab", "ipython"}
    assert all(clause.operator == "==" for clauses in wanted.values() for clause in clauses)
    for hub, stays_below_2 in {"1.32.0": True, "2.4.0": False}.items():  # gradio needs a 1
        wanted = "".join(colab.requirements({"huggingface-hub": hub}))
        assert ("huggingface_hub<3,>=1.32,<2" in wanted) is stays_below_2


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small copy of the repository, in place of it."""
    names = ("pyproject.toml", "constraints.txt", "README.md")
    for path in (*map(ROOT.joinpath, names), *ROOT.glob("notebooks/**/00_*.ipynb")):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TUTORIAL_MODEL", "")
    return tmp_path


@pytest.mark.parametrize(
    ("returncode", "numpy", "sentence"),
    [
        (1, "same", "pip found no versions that work with Colab's PyTorch: torch>=2.12"),
        (0, "newer", "pip replaced numpy, which had been imported: choose Runtime"),
        (0, "same", None),
    ],
)
def test_the_helpers_can_be_imported_or_a_sentence_says_why_not(
    project, monkeypatch, returncode, numpy, sentence
):
    calls = []

    def pip(command, **_):
        assert command[:3] == [sys.executable, "-m", "pip"]
        calls.append(command[3])
        if numpy == "newer":
            monkeypatch.setattr(colab, "imported_versions", lambda: {"numpy": "2.4"})
        return SimpleNamespace(returncode=returncode, stderr="torch>=2.12")

    torchao = SimpleNamespace(name="torchao", version="0.10.0")  # as on Colab
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [torchao])
    monkeypatch.setattr(colab, "imported_versions", lambda: {"numpy": "2.0"})
    monkeypatch.setattr(subprocess, "run", pip)
    if sentence:
        with pytest.raises(RuntimeError, match=re.escape(sentence)):
            colab.prepare("sd15-shape")
    else:
        colab.prepare("sd15-shape")
    assert (str(project) in sys.path) is (sentence is None)
    assert os.environ["TUTORIAL_MODEL"] == "sd15-shape"
    assert calls == (["install"] if returncode else ["install", "uninstall"])


def set_address(address):
    text = (colab.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = re.sub(r"\[project\.urls\]\n(.+\n)*", "", text)
    text += f'[project.urls]\nRepository = "{address}"\n' if address else ""
    (colab.ROOT / "pyproject.toml").write_text(text, encoding="utf-8")


def test_badges_link_to_colab_and_follow_the_address(project):
    set_address("")
    assert "without links to Colab" in colab.write_badges()
    files = [project / "README.md", *project.glob("notebooks/**/*.ipynb")]
    before = [path.read_bytes() for path in files]
    for address in ("https://github.com/old/2026-name", f"{ADDRESS}.git", ADDRESS):
        set_address(address)
        colab.write_badges()
    start = "(https://colab.research.google.com/github/someone/some-tutorial/blob/main/"
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
