"""Models that say what will become of machines: remaining life, type of failure, class of maintenance."""
