"""What a machine's operating cycles say about its future: remaining life, kind of failure, maintenance due."""
