"""Tables and figures of the papers: published numbers, the runs that reproduce them, and the comparison."""
