"""The `files` platform: certificates in a directory of this machine."""
