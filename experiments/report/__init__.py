"""One HTML page about many runs: what they show of the papers, their curves, and what it takes to run them again."""
