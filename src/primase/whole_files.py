"""Files and folders that are whole or are not there: written beside and renamed, or put back."""

import os
import shutil
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from primase.errors import InputError, OutputExistsError


def write_whole(file: Path, content: bytes) -> Path:
    """Write `file` so that a reader sees the old content or the new, never half of it, whoever else writes meanwhile.

    Raises OutputExistsError where a folder is in its place.
    """
    if file.is_dir():
        raise OutputExistsError(f"{file}: is a folder; remove it")
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def folder_to_make(path: str | Path) -> Path:
    """Where a folder is to be made: what a link leads to, so that it stays on its disk. Raises InputError for `.`."""
    folder = Path(path)
    if folder.name in ("", ".."):
        raise InputError(f"{folder}: name the folder that is to be made, in place of the one to make it in")
    return folder.resolve() if folder.is_symlink() else folder


def with_usual_modes(folder: Path) -> None:
    """Let others read the weights in `folder` as all else in it: safetensors lets their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o666 & ~umask)


@contextmanager
def creating_folder(
    folder: Path,
    *,
    marker: str,
    own_names: Set[str],
    overwrite: bool,
    remedy: str,
    claim: Callable[[Path], None] = lambda folder: None,
    claim_name: str = "",
) -> Iterator[None]:
    """An empty folder; where the block raises, it is gone, and what was to be replaced is back in it.

    `claim` is called with the folder that is to be replaced, and then with the new one; where it raises, they stay as
    they are. It may leave the file `claim_name` in them.

    Only a folder with the file `marker` and nothing but `own_names` is ever replaced: somebody's project may have a
    file of that name too, and must not be deleted for it. Raises OutputExistsError for all else that is there, and with
    `remedy` where `overwrite` is not set.
    """
    folder = folder_to_make(folder)
    asides = [aside := folder.with_name(f".{folder.name}.replaced")]
    while aside.exists():  # left by a process that was killed; the only whole run may be in it
        asides.append(aside := folder.with_name(f".{folder.name}.replaced{len(asides) + 1}"))
    is_replaced = _may_be_replaced(folder, marker, own_names, overwrite, remedy, claim_name)
    if is_replaced:
        claim(folder)
        folder.rename(aside)
    is_claimed = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder)
        is_claimed = True
        yield
    except BaseException:
        if is_claimed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with suppress(OSError):  # somebody else's by now
                folder.rmdir()
        if is_replaced and not folder.exists():
            aside.rename(folder)
        raise
    for aside in asides:
        shutil.rmtree(aside, ignore_errors=True)


def _may_be_replaced(
    folder: Path, marker: str, own_names: Set[str], overwrite: bool, remedy: str, claim_name: str
) -> bool:
    """Whether there is something to replace. Raises OutputExistsError where something is there that must stay."""
    if not folder.exists() or (folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {claim_name}):
        return False
    if not (folder / marker).is_file():
        raise OutputExistsError(f"{folder}: exists and is no run of Primase; choose another output folder")
    if not overwrite:
        raise OutputExistsError(f"{folder}: already holds a run; {remedy}")
    names = sorted(entry.name for entry in folder.iterdir())
    foreign = [name for name in names if name not in own_names and not name.endswith(".partial")]
    if foreign:
        raise OutputExistsError(
            f"{folder}: holds {foreign[0]}, which no run of Primase writes, so it is not replaced; "
            "choose another output folder"
        )
    return True


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raises OutputExistsError where `output` is a folder, or a file that is not to be overwritten."""
    if output.is_dir():
        raise OutputExistsError(f"{output}: is a folder; choose another file")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: already exists; pass --overwrite to replace it, or choose another file")


def refuse_unwritable(output: Path) -> None:
    """Before the long work: OSError, with the name of `output`, where no file can be written there; InputError in the
    folders of the system in which nothing can be made. The folder is made where it is not there.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{os.getpid()}.partial.{output.name}")
    try:
        partial.touch()
        partial.unlink()
    except FileNotFoundError:
        raise InputError(f"{output}: nothing can be made there; choose another output") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(output)) from error


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """The path beside `file` to write to, with the same suffixes; it takes the place of `file` where all went well."""
    partial = file.with_name(f".{os.getpid()}.partial.{file.name}")
    try:
        yield partial
        partial.replace(file)
    except OSError as error:
        if error.filename == str(partial):  # a hidden name, and no concern of the user's
            error.filename = str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)
