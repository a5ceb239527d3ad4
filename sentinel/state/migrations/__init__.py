"""The state database's schema, step by step. A change is a new file in `versions` and the same change in `sentinel.state.tables`."""
