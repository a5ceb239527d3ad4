"""From bytes to clean columns, and the sources the bytes come from."""
