"""faiss, an extra: imported where an index is made or asked, and said in one line where it is missing."""

from types import ModuleType

from primase.errors import MissingExtraError


def faiss_library() -> ModuleType:
    """Raises MissingExtraError where faiss is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("search needs faiss, which is not installed: pip install 'primase[search]'") from error
    return faiss
