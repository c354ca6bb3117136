"""The config file: schema, loading with the origin of every value, and errors that people can act on."""
