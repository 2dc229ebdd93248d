"""Benchmarks: scripts that print every number the README quotes; never timed tests."""
