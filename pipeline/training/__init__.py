"""Training of a noise prompt network on a sealed data set."""
