"""What a run remembers between runs."""
