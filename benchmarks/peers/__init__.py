"""The same job as others would build it. Runs in an environment of its own and imports nothing of the project."""
