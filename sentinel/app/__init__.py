"""Wiring: from a configuration to running objects, and their orderly stop."""
