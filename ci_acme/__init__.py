"""TLS certificates into the places where deployments need them, from inside a pipeline.

The version is a literal so that ``ci-acme --version`` imports nothing else.
"""

__version__ = "0.1.0"
