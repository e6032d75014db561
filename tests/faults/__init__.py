"""Faults thrown at real runs: `python -m tests.faults --help`."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
