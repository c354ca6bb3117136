"""GitLab: CI/CD variables."""
