"""The robot is chosen by its name in the command line, as upstream does."""

import sys

_WORDS = " ".join(sys.argv).lower()
ACTION_DIM = 7 if "libero" in _WORDS or "aloha" not in _WORDS else 14
