"""Training: advantages, the settings and the folder of a run, the reference trainer."""
