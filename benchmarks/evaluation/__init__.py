"""How good the detectors are, each part on its own."""
