"""programs and HTTP endpoints of the user."""
