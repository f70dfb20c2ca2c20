"""Programs that measure, side by side, and write JSON. Each is run as `python -m benchmarks.NAME`."""
