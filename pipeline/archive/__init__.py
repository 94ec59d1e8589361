"""The archive: events as Parquet files by factory and day, what manifests say about them, and what may be dropped then."""
