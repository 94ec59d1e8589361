"""How well detectors and models do on public and simulated data."""
