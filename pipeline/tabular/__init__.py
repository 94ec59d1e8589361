"""Tabular files of history: what their rows mean, which of them are messages, and which are refused and why."""
