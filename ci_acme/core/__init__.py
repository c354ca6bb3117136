"""Decisions as pure functions of values and a given now."""
