"""Many runs side by side: what a run is before it exists, where finished ones are found, and who computes the rest."""
