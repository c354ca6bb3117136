"""Hetzner DNS."""
