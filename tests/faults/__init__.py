"""Faults thrown at real runs: `python -m tests.faults --help`."""
