"""The relational state: alerts, outbox, keys, audit; SQLite by default, PostgreSQL for several replicas."""
