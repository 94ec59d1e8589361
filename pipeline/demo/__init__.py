"""Everything at once on one machine, to look at."""
