"""Everything that Primase raises on purpose.

Each error refines the built-in that a caller would expect, so `except ValueError` keeps working. The command line
prints the message as one line and leaves with exit code 2; a message therefore names the file, the row and the remedy.
"""


class PrimaseError(Exception):
    """A condition that the user can mend. The message is one line: what, where, remedy."""


class InputError(PrimaseError, ValueError):
    """A file or a sequence given by the user cannot be used."""


class NewerFileError(InputError):
    """A file was written by a newer Primase than this one."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or a folder named by the user is not there."""


class RecipeError(PrimaseError, ValueError):
    """A recipe has an unknown key, or a value out of range."""


class OutputExistsError(PrimaseError, FileExistsError):
    """The output is already there, and nobody said to overwrite it or to go on with it."""


class RunInUseError(PrimaseError, BlockingIOError):
    """Another process is writing this run or corpus."""


class CheckpointError(PrimaseError, ValueError):
    """A checkpoint is incomplete, or belongs to another recipe or corpus."""


class ModelError(PrimaseError, ValueError):
    """A model or a tokenizer cannot be loaded, or cannot do what is asked of it."""


class NonFiniteLossError(PrimaseError, ArithmeticError):
    """The training loss or its gradient became NaN or infinite; the weights were not touched."""


class ExplodedLossError(PrimaseError, ArithmeticError):
    """The training loss is finite, and so high for so long that the run is lost."""


class MissingExtraError(PrimaseError, ImportError):
    """An optional library is needed and is not installed."""


class LostProcessError(PrimaseError, ConnectionError):
    """Another process of the same run has died or cannot be reached."""


class RelayedError(PrimaseError, RuntimeError):
    """The main process failed and says why; the message is the same."""
