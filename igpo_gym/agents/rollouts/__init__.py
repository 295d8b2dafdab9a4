"""Rollouts: collecting episodes, recording them, summarizing them."""

from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.agents.rollouts.records import RolloutFile, from_record, read_rollouts, to_record

__all__ = ["RolloutFile", "collect", "collect_groups", "from_record", "read_rollouts", "to_record"]
