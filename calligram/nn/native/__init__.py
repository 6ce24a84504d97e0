"""A decoder's pass in one call of C, for CPUs: compiled on the user's machine at first use."""
