"""Online detectors: small kernels over fixed-size records, each with a one-row view behind River's interface."""
