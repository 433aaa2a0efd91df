"""How good frozen features are: nearest neighbours, linear probes, and the intervals around both."""
