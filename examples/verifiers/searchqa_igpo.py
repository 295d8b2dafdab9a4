"""The environment as a plugin of verifiers, under the id searchqa-igpo.

Put this file where Python finds modules, for example by running in this folder:

    vf-eval searchqa-igpo --env.taskset.questions world -n 20 -r 4 -m MODEL -b http://localhost:8000/v1
"""

from igpo_gym.adapters.verifiers import ChatHarness, SearchQAEnv, SearchQATaskset

__all__ = ["ChatHarness", "SearchQAEnv", "SearchQATaskset"]
