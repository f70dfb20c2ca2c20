"""Where the real data lies, and the skip that is counted where it is absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real genomes, windows and tokenizers (see CONTRIBUTING.md)."""
    folder = Path(os.environ.get("PRIMASE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set PRIMASE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def dnabert2_tokenizer_folder(shared_data: Path) -> Path:
    return shared_data / "tokenizers" / "dnabert2"
