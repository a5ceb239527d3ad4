"""The path of one batch, and the loop that walks it."""
