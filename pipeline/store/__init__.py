"""PostgreSQL: migrations, the transaction, progress marks, snapshots, the embedded server."""
