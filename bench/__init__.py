"""Measures `ci-acme` beside other ACME clients on the same CA and the same name server. See README.md."""
