"""Zones, delegation, propagation and the solver."""
