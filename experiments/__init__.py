"""All that is done with methods and tasks: one run, many of them, tables of the papers, sweeps, reports."""
