"""Which maintenance a machine's messages ask for, and what follows from that."""
