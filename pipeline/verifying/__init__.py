"""Judging what is stored: everything is read once, scattered to files by machine, and judged one file at a time."""
