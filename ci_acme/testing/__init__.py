"""Public: fakes and the contract suites that any provider must pass."""
