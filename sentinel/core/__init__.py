"""Words of the domain: batches, anomalies, ids, ports and errors. No I/O."""
