"""For the applications of others: what a stream processor needs to read our events and alerts. The daemon uses none of it."""
