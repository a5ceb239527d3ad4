"""What a configuration would have done on events of the past: the live path from decode to anomalies and alerts, with nothing delivered."""
