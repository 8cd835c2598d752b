"""Sweeps: grids of options, trained side by side and ranked."""
