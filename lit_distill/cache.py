"""Where files are kept that can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/lit_distill`, by default `~/.cache/lit_distill`; absolute, for links into it."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "lit_distill"


def copies_folder() -> Path:
    """Where what is behind URLs is copied to, see remote_shards.py."""
    return cache_folder() / "remote"
