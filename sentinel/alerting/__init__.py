"""From anomaly to alert, and from alert to the people who asked for it."""
