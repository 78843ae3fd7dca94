"""The only memory: hash-chained events and the state tables they explain."""
