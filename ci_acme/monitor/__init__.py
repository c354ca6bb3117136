"""What `ci-acme monitor` looks at beside stores and records, and how its findings are told to other programs."""
