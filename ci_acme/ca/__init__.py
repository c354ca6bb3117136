"""ACME (RFC 8555) on a transport of our own."""
