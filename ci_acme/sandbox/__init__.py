"""A CA and a DNS server on loopback, for the demo and as a fault injector."""
