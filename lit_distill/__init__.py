"""lit_distill: distil a robot foundation model into a tiny single-task student."""

__version__ = "0.1.0"
