"""The rules of the plant, pure: no broker, no database, no clock, no logging."""
