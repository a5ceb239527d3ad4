"""LLM-Sentinel watches LLM applications and tells people, early and without crying wolf, when something goes wrong."""

__version__ = "0.1.0"
