"""Runs: the training loop, run directories, checkpoints, evaluation and figures."""
