"""Factory telemetry pipeline: batches of records in, one transaction out."""
