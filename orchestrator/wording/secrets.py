"""Command lines that are safe to store: without credentials, as text that any database can hold."""

import re
from collections.abc import Sequence

# user:password@ of a URL of any kind; the user's name stays. A password may hold a slash that should be escaped.
# Of limited length: a long note would take the square of its length.
_PASSWORD = re.compile(
    r"(?P<front>[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s/:@?#]{0,256}):(?:[^\s/?#]{0,4096}|[^\s@]{0,4096})@"
)
_QUERY = re.compile(
    r"(?P<front>[?&](?:password|passwd|token|api_key|sslpassword|access_token)=)[^\s&#]*", re.IGNORECASE
)
_HIDDEN = "***"


def without_credentials(arguments: Sequence[str]) -> tuple[str, ...]:
    """`arguments` with the passwords of URLs in them replaced by `***`, and bytes that are not text escaped."""
    texts = (argument.encode("utf-8", "backslashreplace").decode() for argument in arguments)
    return tuple(_QUERY.sub(rf"\g<front>{_HIDDEN}", _PASSWORD.sub(rf"\g<front>:{_HIDDEN}@", text)) for text in texts)


def without_value(option: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """`arguments` with the value of an option replaced by `***`: a webhook's address is a password too."""
    found: list[str] = []
    for argument in arguments:
        if found and found[-1] == option:
            found.append(_HIDDEN)
        else:
            found.append(f"{option}={_HIDDEN}" if argument.startswith(f"{option}=") else argument)
    return tuple(found)
