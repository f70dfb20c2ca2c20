"""The working folder of an embedding that goes on after an interruption: what is done lies here, and nowhere else yet.

settings.json   what is embedded, how; an embedding goes on only with the same
done.json       rows, and the bytes of the two files that are sure; replaced after each group
vectors.bin     float32 little-endian, row after row
rows.jsonl      name, record, start, end, strand of each row
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.embedding.rows import Row
from primase.errors import CheckpointError, InputError, NewerFileError
from primase.own_files import read_json
from primase.whole_files import write_whole

SCHEMA_VERSION = 1
REMEDY = "leave out --resume to begin anew"
ROWS_AT_ONCE = 1024


@dataclass
class Progress:
    """An open working folder. `done_rows` are complete; the files may hold more, which is cut off."""

    folder: Path
    done_rows: int

    @classmethod
    def begin(cls, folder: Path, settings: dict) -> "Progress":
        """In an empty folder, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        noted = {"schema_version": SCHEMA_VERSION} | settings
        write_whole(folder / "settings.json", json.dumps(noted, indent=2).encode())
        for name in ("vectors.bin", "rows.jsonl"):
            (folder / name).touch()
        progress = cls(folder, 0)
        progress._note(0, 0)
        return progress

    @classmethod
    def go_on(cls, folder: Path, settings: dict, shape: tuple[int, ...]) -> "Progress | None":
        """What an interrupted embedding left, of vectors [*shape]; None where there is nothing.

        Raises CheckpointError for another one's, and for a damaged one.
        """
        try:
            theirs = read_json(folder / "settings.json", schema=SCHEMA_VERSION, remedy=REMEDY)
            done = read_json(folder / "done.json", schema=SCHEMA_VERSION, remedy=REMEDY)
        except NewerFileError:
            raise
        except InputError:
            return None
        for name, ours in settings.items():
            if theirs.get(name) != ours:
                raise CheckpointError(
                    f"{folder}: the interrupted embedding had another {name.replace('_', ' ')} "
                    f"({str(theirs.get(name))[:80]}, not {str(ours)[:80]}); give the same, or leave out --resume to "
                    "begin anew"
                )
        for name in ("vectors.bin", "rows.jsonl"):
            file, size = folder / name, done.get(f"{Path(name).stem}_bytes")
            if not isinstance(size, int) or not file.is_file() or not 0 <= size <= file.stat().st_size:
                raise CheckpointError(f"{folder}: damaged: {name} is not as long as was noted; {REMEDY}")
            os.truncate(file, size)
        with open(folder / "rows.jsonl", "rb") as lines:
            rows = sum(line.endswith(b"\n") for line in lines)
        if done.get("rows") != rows or done["vectors_bytes"] != 4 * rows * math.prod(shape):
            raise CheckpointError(f"{folder}: damaged: done.json notes other rows than there are; {REMEDY}")
        return cls(folder, rows)

    def add(self, rows: list[Row], vectors: np.ndarray) -> None:
        """A group is done: float32 [rows, …]. First the data, then the note that says so."""
        sizes = []
        for name, content in (
            ("vectors.bin", vectors.astype("<f4").tobytes()),
            ("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()),
        ):
            with open(self.folder / name, "ab") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
                sizes.append(out.tell())
        self.done_rows += len(rows)
        self._note(*sizes)

    def _note(self, vectors_bytes: int, rows_bytes: int) -> None:
        note = {
            "schema_version": SCHEMA_VERSION,
            "rows": self.done_rows,
            "vectors_bytes": vectors_bytes,
            "rows_bytes": rows_bytes,
        }
        write_whole(self.folder / "done.json", json.dumps(note).encode())

    def chunks(self, shape: tuple[int, ...]) -> Iterator[tuple[list[Row], np.ndarray]]:
        """Rows and vectors float32 [rows, *shape], ROWS_AT_ONCE at a time."""
        numbers = int(np.prod(shape))
        with open(self.folder / "vectors.bin", "rb") as vectors, open(self.folder / "rows.jsonl", "rb") as lines:
            for first in range(0, self.done_rows, ROWS_AT_ONCE):
                count = min(ROWS_AT_ONCE, self.done_rows - first)
                rows = [Row(*json.loads(next(lines))) for _ in range(count)]
                yield rows, np.frombuffer(vectors.read(4 * numbers * count), "<f4").reshape(count, *shape)
