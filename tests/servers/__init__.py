"""Real servers for tests: Pebble, BIND, PowerDNS and PostgreSQL, each as a context manager on loopback."""
