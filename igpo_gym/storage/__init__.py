"""Where derived data is cached, and how files are written so that a crash leaves none half done."""

from __future__ import annotations

from igpo_gym.storage.lines import append_line, changed, complete_lines
from igpo_gym.storage.locks import held, let_go, lock, owned
from igpo_gym.storage.places import (
    PACKED,
    cache_dir,
    check_all_writable,
    check_new,
    check_plain,
    check_writable,
    resolved,
)
from igpo_gym.storage.whole import (
    full_disk_named,
    keep_permissions,
    restore,
    tidy,
    written_file,
    written_whole,
)

__all__ = [
    "PACKED",
    "append_line",
    "cache_dir",
    "changed",
    "check_all_writable",
    "check_new",
    "check_plain",
    "check_writable",
    "complete_lines",
    "full_disk_named",
    "held",
    "keep_permissions",
    "let_go",
    "lock",
    "owned",
    "resolved",
    "restore",
    "tidy",
    "written_file",
    "written_whole",
]
