"""Microsoft Azure: DNS zones, Key Vault."""
