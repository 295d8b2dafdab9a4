"""Finding out how a search server speaks, before anything relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from igpo_gym.episode import Passage
from igpo_gym.errors import AccessError, SpecError
from igpo_gym.search.dialects import DIALECTS, read_documents
from igpo_gym.search.replicas import DENIED
from igpo_gym.transport import Server, ServerError

PROBE = "Who wrote The Tin Drum?"
"""The query with which a server is tried out."""

NO_ROUTE = (301, 302, 303, 307, 308, 404, 405)
"""The statuses of a server that has nothing at a path."""

DOWN = (429, 502, 503, 504)
"""Those of one that does not answer now; a 500 may as well mean that it takes other requests."""


@dataclass(frozen=True, slots=True)
class KnownServers:
    """What is known of servers after they were tried out."""

    dialect: str
    documents: bool
    """Whether they give whole documents at ``/access``."""


class _DownError(Exception):
    """A server that does not answer now."""


def handshake(servers: Sequence[Server], path: str, access_path: str, id_field: str) -> KnownServers:
    """Try servers out: all that answer must speak one dialect. Those that do not answer are passed over.

    Raises SpecError where none answers, or one does not speak the protocol, and AccessError where one refuses
    the key.
    """
    known: KnownServers | None = None
    problems = []
    for server in servers:
        try:
            dialect, passages = _spoken(server, path, [known.dialect] if known else list(DIALECTS), id_field)
        except _DownError as problem:
            problems.append(str(problem))
        else:
            known = known or KnownServers(dialect, _gives_documents(server, access_path, passages))
    if known is None:
        raise SpecError(
            f"{'; '.join(problems)}. Start a search server there (igpo-gym serve search INDEX), or correct "
            "search="
        )
    return known


def _spoken(server: Server, path: str, names: Sequence[str], id_field: str) -> tuple[str, list[Passage]]:
    """The first dialect of these that a server speaks, and what it found."""
    problems = []
    for name in names:
        dialect = DIALECTS[name]
        try:
            (passages,) = dialect.read(server.post(path, dialect.ask([PROBE], 3)), [PROBE], 3, id_field)
            return name, passages
        except ServerError as problem:
            if problem.status in DENIED:
                raise AccessError(str(problem)) from None
            if problem.status is None or problem.status in DOWN:
                raise _DownError(str(problem)) from None
            if problem.status in NO_ROUTE or problem.status == 200:  # HTML, for one
                raise SpecError(
                    f"there is no search at this path: {problem}. search= takes the URL of the retrieval "
                    "route, such as http://host:8000/retrieve"
                ) from None
            problems.append(f"{name!r}: {problem}")
        except ValueError as problem:
            problems.append(f"{name!r}: {problem}")
    raise SpecError(
        f"{server.url}{path} does not speak the Search-R1 protocol. Asked as {'; as '.join(problems)}"
    )


def _gives_documents(server: Server, path: str, passages: Sequence[Passage]) -> bool:
    ids = [passage.id for passage in passages[:1]] or [PROBE]
    try:
        read_documents(server.post(path, {"urls": ids}), ids)
    except (ServerError, ValueError):
        return False
    return True
