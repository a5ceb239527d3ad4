"""Where events and anomalies are kept and asked for."""
