"""Where the checkout is."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

HOOKS = ROOT / "tests" / "support" / "hooks"
"""The folder that holds what changes a command of a test from outside: see `sitecustomize.py`."""
