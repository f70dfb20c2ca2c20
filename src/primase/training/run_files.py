"""All files of a run against the checksums that were noted as they were written (`primase check --files`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from primase import checksums
from primase.corpus import store
from primase.errors import InputError, NewerFileError
from primase.own_files import read_json
from primase.run_folder import RunFolder
from primase.training.checkpoints import FINAL_MARKER, MARKER, SCHEMA_VERSION


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

    Raises MissingFileError where there is no run, and NewerFileError for a list of files that a newer Primase wrote.
    """
    run = RunFolder.open(run_folder)
    files = size = 0
    damaged, without = [], []
    for marker_file in _markers(run):
        folder = marker_file.parent
        if marker_file.name == FINAL_MARKER and not marker_file.exists():
            without.append(str(folder))
            continue
        marker = _sound_marker(marker_file)
        outside = checksums.name_outside(marker) if marker is not None else None
        if marker is None or outside is not None:
            problem = "is missing or not readable" if marker is None else f"names a file outside ({outside})"
            damaged.append(f"{marker_file} {problem}")
            continue
        damage, noted = checksums.damage(folder, marker), marker.get(checksums.SIZES, {})
        files += len(noted)
        size += sum(noted.values())
        if damage:
            damaged.append(damage)
        if checksums.CHECKSUMS not in marker:
            without.append(str(folder))
    return FilesCheck(files, size, tuple(damaged), tuple(without))


def _sound_marker(file: Path) -> dict | None:
    newest = store.SCHEMA_VERSION if file.name == "corpus.json" else SCHEMA_VERSION
    try:
        marker = read_json(file, schema=newest, remedy="")
    except NewerFileError:
        raise
    except InputError:
        return None
    return marker if checksums.is_sound(marker) else None


def _markers(run: RunFolder) -> Iterator[Path]:
    yield run.corpus_folder / "corpus.json"
    yield from (folder / MARKER for folder in sorted(run.folder.glob("checkpoints/step-*")))
    if run.final.is_dir():
        yield run.final / FINAL_MARKER
