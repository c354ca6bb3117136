"""The `files` platform."""
