"""A simulated plant: what its machines send, and the ledger of what was sent."""
