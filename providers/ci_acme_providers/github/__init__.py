"""GitHub: Actions secrets."""
