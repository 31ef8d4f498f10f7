"""Where a data set lies: a folder on disk, or a URL of a store, and how that store is to be treated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline.errors import UserError

SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss")
"""Besides `file`, which is a folder on disk."""

AZURE = ("az", "abfs", "abfss")
"""Their URLs may name container@account, which is no secret."""

CREDENTIALS = {
    "http": "the machine's ~/.netrc",
    "s3": "the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE), ~/.aws or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, gcloud's login or the machine's account",
    "az": "the environment (AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or another AZURE_...)",
}
"""Where those who read look for credentials, by `Remote.kind`."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


@dataclass(frozen=True)
class StoreSettings:
    """How stores are read.

    cache: the folder that their shards are kept in; None: see `cache.cache_folder`. cache_gb: how much it
    may hold, in 10^9 bytes. patience_seconds: for how long without a success a store is tried again.
    silence_seconds: after how long without a byte a request has failed.
    """

    cache: str | None = None
    cache_gb: float = 100.0
    patience_seconds: float = 600.0
    silence_seconds: float = 30.0


@dataclass(frozen=True)
class Remote:
    """A file or a folder of a store, by a URL that holds no secret and ends without a slash."""

    url: str
    settings: StoreSettings = field(default=StoreSettings(), compare=False, repr=False)

    def __truediv__(self, name: str) -> Remote:
        return replace(self, url=f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        """The folder that it is in."""
        return replace(self, url=self.url.rpartition("/")[0])

    @property
    def kind(self) -> str:
        """Which kind of store it is: http, s3, gs or az."""
        scheme = self.url.partition(":")[0]
        if scheme in AZURE:
            return "az"
        return {"https": "http", "gcs": "gs"}.get(scheme, scheme)


Place = Path | Remote


def place_of(given: str | Place, settings: StoreSettings | None = None) -> Place:
    """The place that a person's text means. Errors: UserError for a scheme that is not read, and for a URL
    that holds a secret, which is not shown."""
    if not isinstance(given, str):
        return given
    scheme = _SCHEME.match(given)
    if scheme is None or Path(given).exists():
        return Path(given)
    name = scheme[1].lower()
    if name not in (*SCHEMES, "file") or not given[scheme.end() :].startswith("//"):
        raise UserError(
            f"{_harmless(given)}: {scheme[1]}: is not a scheme that data is read from; give a folder of "
            f"shards on disk, as `hrgan prepare` makes it, or a URL with {', '.join(SCHEMES)} or file and ://"
        )
    parts = _checked(given, name)
    if name == "file":
        return Path(unquote(parts.path))
    path = parts.path.rstrip("/")
    return Remote(f"{name}://{parts.netloc}{path}", settings or StoreSettings())


def _checked(given: str, scheme: str) -> SplitResult:
    shown = _harmless(given)
    try:
        parts = urlsplit(given)
        known = parts.port is None or scheme in ("http", "https")
    except ValueError:
        known = False
    if not known or not given.isprintable() or "\\" in given or ".." in parts.path.split("/"):
        raise UserError(f"{shown}: is not a URL of a folder of shards")
    if "?" in given or "#" in given:
        raise UserError(
            f"{shown}: a URL with a query or a fragment; a signed one would lie open in the run's files. "
            f"Give the URL alone: credentials come from {_credentials(scheme)}"
        )
    user = parts.netloc.rpartition("@")[0]
    if user and (scheme not in AZURE or ":" in user):
        raise UserError(
            f"{shown}: a URL with a user or a password, which would lie open in the run's files. Give it "
            f"without: credentials come from {_credentials(scheme)}"
        )
    if scheme == "file" and parts.netloc not in ("", "localhost"):
        raise UserError(f"{shown}: names another machine; allowed: file:///FOLDER")
    if scheme != "file" and not (parts.netloc if scheme in AZURE else parts.hostname):
        raise UserError(f"{shown}: names no {'host' if scheme.startswith('http') else 'bucket'}")
    return parts


def _credentials(scheme: str) -> str:
    return CREDENTIALS.get(Remote(f"{scheme}://").kind, "the machine")


def _harmless(given: str) -> str:
    """A URL without what may be secret."""
    plain = re.split(r"[?#]", given, maxsplit=1)[0]
    return re.sub(r"//[^/]*@", "//", plain)
