"""Weakly supervised semantic segmentation: from image-level labels to masks."""

__version__ = "0.1.0"
