"""PowerDNS Authoritative Server."""
