"""Agents: policies that play episodes."""
