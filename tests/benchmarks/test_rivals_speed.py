"""The figures of the rivals' benchmark are in the units that their names say."""

from types import SimpleNamespace

from benchmarks import rivals_speed


def test_memory_is_in_megabytes(monkeypatch):
    """Linux gives it in KiB."""
    monkeypatch.setattr(rivals_speed.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=1_000_000))
    bases = rivals_speed.ACGT.repeat(20)
    assert rivals_speed._run(bases, bases)["peak_memory_mb"] == 1024
