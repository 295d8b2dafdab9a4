"""Benchmarks of reward shaping: what they share (statistics, charts, reports), and a folder for each."""
