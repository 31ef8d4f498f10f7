"""What the errors of stores mean. Their libraries have dozens of kinds; what counts is the status and whether
asking again may help."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

_FORBIDDEN = (401, 403, 407)
_ABSENT = (404, 410)
_BUSY = (408, 421, 423, 425, 429)
_LIBRARIES = (
    "aiohttp",
    "adlfs",
    "aiobotocore",
    "asyncio",
    "azure",
    "botocore",
    "fsspec",
    "gcsfs",
    "google",
    "requests",
    "s3fs",
)
_WITHOUT = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound")
_SAID = {"Forbidden: ": 403, "Bad Request: ": 400}  # by gcsfs, in plain errors of Python
_HOPELESS = {
    "ClientConnectorCertificateError": "its certificate is not valid",
    "InvalidURL": "it is not a URL",
    "TooManyRedirects": "it redirects in a circle",
    "ParamValidationError": "it is not the name of a bucket",
}


def is_a_stores(error: BaseException) -> bool:
    """Whether an error comes from a store or the way to it, rather than from a mistake in the program."""
    if _status(error) is not None or isinstance(error, OSError | TimeoutError):
        return True
    return _library(error) in _LIBRARIES


def status_of(error: BaseException) -> int | None:
    """The status that the store answered with; None if it did not answer."""
    for one in _chain(error):
        found = _status(one)
        if found is not None:
            return found
    return None


def is_forbidden(error: BaseException) -> bool:
    """Whether the store wants other credentials, or any."""
    status = status_of(error)
    if status is not None:
        return status in _FORBIDDEN
    return any(isinstance(one, PermissionError) or type(one).__name__ in _WITHOUT for one in _chain(error))


def is_absent(error: BaseException) -> bool:
    """Whether the store has no such file."""
    status = status_of(error)
    if status is None:  # with a cause, it is fsspec's word for a question that failed
        return isinstance(error, FileNotFoundError) and error.__cause__ is None
    return status in _ABSENT


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    status = status_of(error)
    if status is None:
        return not any(type(one).__name__ in _HOPELESS for one in _chain(error))
    return status >= 500 or status in _BUSY


def is_no_host(error: BaseException) -> bool:
    """Whether the name of the host means nothing, as when it was typed wrongly."""
    names = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
    return any(isinstance(one, socket.gaierror) and one.errno in names for one in _chain(error))


def asked_to_wait(error: BaseException) -> float:
    """For how many seconds the store asks to be left alone (Retry-After: RFC 9110, section 10.2.3); 0 if it
    does not."""
    for one in _chain(error):
        for name, value in _headers(one).items():
            if str(name).lower() == "retry-after":
                return _seconds(str(value))
    return 0.0


def reason_of(error: BaseException) -> str:
    """The reason in a few words, without the URL, which may be signed by now."""
    status = status_of(error)
    if status is not None:
        with suppress(ValueError):
            return f"status {status}, {HTTPStatus(status).phrase}"
        return f"status {status}"
    for one in _chain(error):
        if type(one).__name__ in _HOPELESS:
            return _HOPELESS[type(one).__name__]
    if any(isinstance(one, TimeoutError) or "Timeout" in type(one).__name__ for one in _chain(error)):
        return "it does not answer (timed out)"
    if any(
        "Payload" in type(one).__name__ or "IncompleteRead" in type(one).__name__ for one in _chain(error)
    ):
        return "the connection broke off"
    for one in _chain(error):
        if isinstance(one, socket.gaierror):
            return f"its host is not found ({one.strerror})"
        if isinstance(one, OSError) and one.errno in errno.errorcode and one.strerror:
            return str(one.strerror)
    return type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or getattr(error, "os_error", None) or error.__context__


def _library(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _status(error: BaseException) -> int | None:
    for words, status in _SAID.items():
        if str(error).startswith(words):
            return status
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    values: tuple[Any, ...] = (
        getattr(error, "status", None),
        getattr(error, "status_code", None),
        metadata.get("HTTPStatusCode"),
        # A status with Google alone: aiohttp calls 400 what is wrong with an answer.
        getattr(error, "code", None) if _library(error) in ("gcsfs", "google") else None,
    )
    for value in values:
        with suppress(TypeError, ValueError):
            if 400 <= int(value) < 600:
                return int(value)
    return None


def _headers(error: BaseException) -> Mapping[str, Any]:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    else:
        headers = getattr(error, "headers", None) or getattr(response, "headers", None)
    return headers if isinstance(headers, Mapping) else {}


def _seconds(value: str) -> float:
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0
