"""Logging, metrics and health: the only room that knows those libraries."""
