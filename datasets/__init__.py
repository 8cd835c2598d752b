"""The tasks of the papers, each batch a pure function of (seed, split, index)."""
