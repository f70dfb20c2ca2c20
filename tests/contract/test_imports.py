"""The rooms of the house and the time it takes to open the door."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, assert_answers_at_once

SOURCES = sorted((REPOSITORY / "src" / "primase").rglob("*.py"))


def files_with(pattern: str) -> set[str]:
    return {
        str(file.relative_to(REPOSITORY / "src" / "primase"))
        for file in SOURCES
        if re.search(pattern, file.read_text("utf-8"), flags=re.MULTILINE)
    }


def test_only_the_seam_knows_the_trainer():
    assert files_with(r"\btransformers\.Trainer\(|\(transformers\.Trainer\)|import .*\bTrainer\b") == {
        "training/trainer.py"
    }


def test_only_the_command_line_prints():
    assert {file for file in files_with(r"^\s*(print\(|typer\.echo)") if not file.startswith("cli/")} == set()


def test_no_remote_code_and_no_pickle():
    assert files_with(r"trust_remote_code(?!=False\b)|torch\.load\((?!.*weights_only=True)|pickle\.load") == set()


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import primase", {"torch", "transformers", "pyarrow", "pydantic", "numpy"}),
        ("import primase.cli", {"torch", "transformers", "pyarrow", "pydantic", "numpy"}),
        ("import primase.recipe, primase.dna, primase.formats, primase.simulate", {"torch", "transformers"}),
    ],
)
def test_importing_is_light(statement, forbidden):
    code = f"import sys; {statement}; print(*(sys.modules.keys() & {forbidden!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_help_answers_in_under_a_third_of_a_second():
    assert_answers_at_once([sys.executable, "-m", "primase", "--help"], 0.3)


def test_public_names_are_what_they_say():
    code = (
        "import primase\n"
        "for _ in range(2):\n"
        "    for name in primase.__all__:\n"
        "        value = getattr(primase, name)\n"
        "        assert name == '__version__' or callable(value), (name, value)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
