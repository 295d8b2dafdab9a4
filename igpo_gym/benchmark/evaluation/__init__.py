"""Evaluations: what an agent scores on sets of questions, beside another agent, and what decided it."""
