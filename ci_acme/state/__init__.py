"""What a run remembers between runs: a small engine, and what is written once above it."""
