"""Vigil: video anomaly detection that learns what is normal and says why something is not."""

from __future__ import annotations

__version__ = "0.1.0"
