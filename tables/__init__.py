"""What a worker holds while it owns a partition."""
