"""Rollouts: collecting episodes, recording them, summarizing them."""
