"""The typed configuration: schema, loader, secrets."""
