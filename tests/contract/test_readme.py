"""The documentation does what it says: Python blocks run, commands and their options exist, files of the map too."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

from primase.cli import app
from primase.recipe import Recipe, shipped_recipes
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text("utf-8")
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])


def code_blocks(text: str, language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in blocks if name == language]


def documented_commands() -> list[str]:
    blocks = [block for page in PAGES for block in code_blocks(page.read_text("utf-8"), "")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return sorted({line.split("  #")[0].strip() for line in lines if line.startswith("primase ")})


@pytest.mark.parametrize("block", code_blocks(README, "python"))
def test_the_readmes_python_runs(tmp_path, block):
    result = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "mine" / "evaluation.json").is_file()


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_are_understood(line):
    """Parsed with the real options; not run, for some of them take an hour."""
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    context = command.make_context(name, arguments)
    if context.params.get("settings"):
        Recipe.load(context.params["recipe"] or "default", context.params["settings"])


def test_there_are_commands_in_the_readme():
    assert len(documented_commands()) >= 6


def test_every_shipped_recipe_is_in_the_readme():
    assert all(f"`{name}`" in README for name in shipped_recipes())


def test_files_of_the_map_exist():
    rows = re.findall(r"^\| (`.*?) \|", README[README.index("## The map") :], flags=re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) > 10
    for name in names:
        places = [REPOSITORY / name, REPOSITORY / "src" / "primase" / name]
        assert any(place.exists() for place in places), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_hold(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
