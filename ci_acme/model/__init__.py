"""Values without behaviour or I/O."""
