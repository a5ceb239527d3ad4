"""The HTTP side: ingest, queries, health and the status page."""
