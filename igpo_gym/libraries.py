"""The libraries that the package uses, their bounds, and what is told where one is missing or too old.

The bounds are those of the installed package (``pyproject.toml``). Where it is not installed, but found in
the working folder, they are not known, and a library that is there is taken as it is.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from igpo_gym.errors import MissingExtraError, OldLibraryError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "igpo-gym"

_PUBLISHED = {
    "aviary": "fhaviary",
    "faiss": "faiss-cpu",
    "gem": "gem-llm",
    "openenv": "openenv-core",
    "resources_servers": "nemo-gym",
    "swift": "ms-swift",
}
"""Modules whose library is published under another name."""


class needs:  # noqa: N801 (it reads as the statement that it is)
    """Within this, libraries are imported that a feature needs.

    A module of ``modules`` that is not there is a MissingExtraError, and one that is older than the package
    allows an OldLibraryError, whatever its import raised. All other errors pass: they are of what a library
    needs itself.

    >>> with needs("reading tables", "data", "no_such_library"):
    ...     import no_such_library
    Traceback (most recent call last):
        ...
    igpo_gym.errors.MissingExtraError: reading tables needs an optional dependency: pip install \
'igpo-gym[data]', or from a checkout pip install -e '.[data]'
    """

    def __init__(self, feature: str, extra: str, *modules: str) -> None:
        self.feature, self.extra, self.modules = feature, extra, modules

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is None or isinstance(problem, Exception):
            check_versions(self.feature, self.extra, self.modules)
        if isinstance(problem, ModuleNotFoundError) and str(problem.name).partition(".")[0] in self.modules:
            raise MissingExtraError(self.feature, self.extra) from None


def require(feature: str, extra: str, *modules: str) -> None:
    """Find libraries without importing them. Raises MissingExtraError and OldLibraryError as ``needs`` does.

    >>> require("arrays", "", "numpy")
    """
    if any(find_spec(module) is None for module in modules):
        raise MissingExtraError(feature, extra)
    check_versions(feature, extra, modules)


@cache
def check_versions(feature: str, extra: str, modules: tuple[str, ...] = ()) -> None:
    """Raise OldLibraryError where a library is older than an extra allows; "" is what is always needed.

    Without ``modules`` all libraries of the extra are looked at. One that is not installed under its name is
    none that is too old.
    """
    names = {_PUBLISHED.get(module, module).replace("_", "-").lower() for module in modules}
    for requirement in requirements().get(extra, []):
        if not names or requirement.name.replace("_", "-").lower() in names:
            version = installed(requirement.name)
            if version is not None and not allows(requirement, version):
                raise OldLibraryError(feature, f"{requirement.name}{requirement.specifier}", version)


def requirements() -> dict[str, list[Requirement]]:
    """What the installed package asks for on this machine, by extra; "" is what it always needs.

    Empty where the package is not installed, but found in the working folder.
    """
    from packaging.requirements import Requirement

    try:
        about = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return {}
    every = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    found: dict[str, list[Requirement]] = {}
    for extra in ("", *(about.get_all("Provides-Extra") or [])):
        found[extra] = [
            each
            for each in every
            if each.name != DISTRIBUTION and _asked(each, extra) and not (extra and _asked(each, ""))
        ]
    return found


def _asked(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def installed(name: str) -> str | None:
    """The version of a library that is here, None where it is not.

    >>> installed("no-such-library") is None
    True
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def allows(requirement: Requirement, version: str) -> bool:
    """Whether a version will do; versions before a release count."""
    return requirement.specifier.contains(version, prereleases=True)
