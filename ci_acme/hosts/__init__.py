"""The CI system that a run is in."""
