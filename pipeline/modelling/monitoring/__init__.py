"""Models in use, held against what came of what they said."""
