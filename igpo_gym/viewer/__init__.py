"""One-file HTML pages of recorded episodes.

>>> from igpo_gym.viewer.page import write_page
>>> from igpo_gym.viewer.runs import read_runs
>>> write_page("page.html", read_runs(["groups.jsonl"]))  # doctest: +SKIP
"""
