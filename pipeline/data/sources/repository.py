"""A data set's files on Hugging Face's hub, fetched by its own client into its own cache."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.data.sources.extra import needed
from pipeline.errors import RunFailed, UserError
from pipeline.storage.faults import line_of, machine_fails
from pipeline.words import counted, note

_AT_ONCE = 8  # files
_PATIENCE_SECONDS = 30.0
_LOG_IN = "log in for it: hf auth login, or HF_TOKEN"


class Repository:
    """The files of one revision. Credentials are the client's own: those of `hf auth login`, or HF_TOKEN.

    source: what the user gave, for errors. files: what the hub says of each, by its path. commit: of the
    revision. UserError if there is no such data set or it may not be read; RunFailed if the hub cannot be
    reached.
    """

    def __init__(self, source: str, name: str, revision: str | None) -> None:
        self._source, self._name = source, name
        self._hub = needed("huggingface_hub", source)
        with self._explained():
            info = self._hub.HfApi().dataset_info(
                name, revision=revision, files_metadata=True, timeout=_PATIENCE_SECONDS
            )
        self.commit: str = info.sha
        self.files: dict[str, Any] = {file.rfilename: file for file in info.siblings or ()}
        for path in self.files:
            if (
                path.startswith("/")
                or "\\" in path
                or any(part in ("", ".", "..") for part in path.split("/"))
            ):
                raise UserError(
                    f"{source}: has a file {path!r:.80}, which would lie outside of its folder; refused"
                )

    def fetched(self, names: Sequence[str]) -> Path:
        """The folder in the cache that has these files; those that are not there yet are fetched and compared
        with the checksums that the hub states. RunFailed if one differs, or the hub is gone meanwhile."""
        sizes = [self.files[name].size or 0 for name in names]
        missing = [name for name in names if self._cached(name) is None]
        if missing:
            note(
                f"{self._source}: {counted(len(missing), 'file')} of {sum(sizes) / 1e6:.1f} MB in all "
                f"{'goes' if len(missing) == 1 else 'go'} to {self._hub.constants.HF_HUB_CACHE}"
            )
        with (
            self._explained(),
            tqdm(total=sum(sizes), unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            paths = list(pool.map(lambda name: self._fetch(name, bar), names))
        return Path(str(paths[0]).removesuffix(names[0]))

    def _fetch(self, name: str, bar: tqdm[Any]) -> str:
        known = self._cached(name)
        path: str = known or self._hub.hf_hub_download(
            self._name, name, repo_type="dataset", revision=self.commit, tqdm_class=_silent(self._hub, bar)
        )
        if known is None:
            self._refuse_other_content(Path(path), name)
        return path

    def _cached(self, name: str) -> str | None:
        found = self._hub.try_to_load_from_cache(self._name, name, revision=self.commit, repo_type="dataset")
        return found if isinstance(found, str) else None

    def _refuse_other_content(self, path: Path, name: str) -> None:
        """RunFailed, with the file removed, if it is not what the hub says."""
        file = self.files[name]
        with path.open("rb") as content:
            if file.lfs is not None:
                same = hashlib.file_digest(content, "sha256").hexdigest() == file.lfs.sha256
            else:  # as Git names files
                data = content.read()
                same = file.blob_id in (None, hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())
        if not same:
            os.unlink(path.resolve())
            path.unlink(missing_ok=True)
            raise RunFailed(
                f"{self._source}: {name}: what came is not what the hub states by its checksum, and was "
                "removed; the same command fetches it again"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns the client's errors into one line."""
        errors = needed("huggingface_hub.errors", self._source)
        http_error = errors.HfHubHTTPError.__bases__[0]  # that of the library that this client has for HTTP
        try:
            yield
        except errors.GatedRepoError as error:
            raise UserError(
                f"{self._source}: you must accept its terms on its page, and {_LOG_IN}"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise UserError(
                f"{self._source}: the hub has no such data set, or only for some; if it is private, {_LOG_IN}"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise UserError(f"{self._source}: the data set has no such revision") from error
        except errors.HFValidationError as error:
            raise UserError(f"{self._source}: must be hf://OWNER/NAME[@REVISION][/PATH][:SPLIT]") from error
        except (OSError, http_error) as error:
            if machine_fails(error):
                raise RunFailed(str(line_of(error, self._hub.constants.HF_HUB_CACHE, "write"))) from error
            raise RunFailed(
                f"{self._source}: the hub does not give it ({_reason(error)}); the same command goes on when "
                f"it does. Without the net, fetch it elsewhere (hf download {self._name} --repo-type "
                "dataset --local-dir FOLDER) and give FOLDER as SOURCE"
            ) from error


def _silent(hub: Any, bar: tqdm[Any]) -> type:
    """A bar for one file that shows nothing and counts in `bar`."""

    class Silent(hub.utils.tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, count: float | None = 1) -> None:
            bar.update(count)

    return Silent


def _reason(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"it answers with status {response.status_code}"
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{str(cause).splitlines()[0] if str(cause) else type(cause).__name__:.200}"
