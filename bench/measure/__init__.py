"""The benches' own modules; bench/README.md tells which does what."""
