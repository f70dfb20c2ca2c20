"""All files of a run against the checksums that were noted as they were written (`primase check --files`)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from primase import checksums
from primase.run_folder import RunFolder
from primase.training.checkpoints import FINAL_MARKER, MARKER


@dataclass(frozen=True)
class FilesCheck:
    """What `check_files` found."""

    checked_files: int
    bytes: int
    damaged: tuple[str, ...]
    """One sentence a damaged folder: its first file that is not as it was written, and how it differs."""
    without_checksums: tuple[str, ...]
    """Folders of an older Primase, of which no checksums were noted: their sizes alone were compared, where known."""

    @property
    def lines(self) -> list[str]:
        """For a reader."""
        return [
            *(f"DAMAGED: {text}" for text in self.damaged),
            *(f"not checked, written before checksums were noted: {folder}" for folder in self.without_checksums),
            "all as they were written"
            if not self.damaged
            else "damaged files; restore them from a copy, or go on with --skip-damaged",
        ]


def check_files(run_folder: str | Path) -> FilesCheck:
    """Read every file of corpus, checkpoints and final model of a run, and compare.

    Raises MissingFileError where there is no run.
    """
    run = RunFolder.open(run_folder)
    files = size = 0
    damaged, without = [], []
    for marker_file in _markers(run):
        folder = marker_file.parent
        if marker_file.name == FINAL_MARKER and not marker_file.exists():
            without.append(str(folder))
            continue
        try:
            marker = json.loads(marker_file.read_text("utf-8"))
            is_sound = checksums.is_sound(marker) and checksums.name_outside(marker) is None
        except (OSError, ValueError, AttributeError):
            is_sound = False
        if not is_sound:
            damaged.append(f"{marker_file} is missing or not readable")
            continue
        damage, noted = checksums.damage(folder, marker), marker.get(checksums.SIZES, {})
        files += len(noted)
        size += sum(noted.values())
        if damage:
            damaged.append(damage)
        if checksums.CHECKSUMS not in marker:
            without.append(str(folder))
    return FilesCheck(files, size, tuple(damaged), tuple(without))


def _markers(run: RunFolder) -> Iterator[Path]:
    yield run.corpus_folder / "corpus.json"
    yield from (folder / MARKER for folder in sorted(run.folder.glob("checkpoints/step-*")))
    if run.final.is_dir():
        yield run.final / FINAL_MARKER
