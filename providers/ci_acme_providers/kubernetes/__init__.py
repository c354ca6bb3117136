"""Kubernetes: TLS Secrets."""
