"""``igpo-gym bench study``: the pre-registered study of docs/study.md; any row of it can be made again."""
