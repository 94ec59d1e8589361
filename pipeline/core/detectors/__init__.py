"""What is wrong with a reading, told by the readings before it: one module per kind of anomaly."""
