"""From raw records to columns: what a message may be, and why one is refused."""
