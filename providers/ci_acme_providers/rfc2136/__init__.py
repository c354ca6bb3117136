"""The `rfc2136` platform."""
