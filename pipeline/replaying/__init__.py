"""Replays in the database: their list, the shadows they write into, what differs, and taking their rows over."""
