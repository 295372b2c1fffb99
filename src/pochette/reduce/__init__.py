"""Smaller networks: units are scored, chosen, and physically removed; see `trim`."""

from pochette.reduce.trimming import TrimReport, trim

__all__ = ["TrimReport", "trim"]
