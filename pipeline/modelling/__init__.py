"""Models made from what has happened, and judged by it: off the path of the messages."""
