"""Agents: policies, rollouts, and training."""
