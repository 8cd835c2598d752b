"""One run: what it is made of, its loop, its directory with logs and checkpoints, its evaluation and its figure."""
