"""What is asked over HTTP: models, by rows of features."""
