"""The sources of the core as one text that both databases hold: base64 of a compressed tar."""

import base64
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from orchestrator.errors import UsageError
from orchestrator.queue.code import CodeRecord

LARGEST_BYTES = 10_000_000
PACKAGE = "hlbgpt_core"


def pack(digest: str, sources: Mapping[str, bytes], *, git_commit: str) -> CodeRecord:
    """The record of these sources; without their text if they exceed LARGEST_BYTES together."""
    num_bytes = sum(map(len, sources.values()))
    return CodeRecord(
        digest=digest,
        first_at=0.0,  # the store sets the time
        git_commit=git_commit,
        num_files=len(sources),
        num_bytes=num_bytes,
        sources=_packed(sources) if num_bytes <= LARGEST_BYTES else "",
    )


def _packed(sources: Mapping[str, bytes]) -> str:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in sorted(sources.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return base64.b64encode(zlib.compress(stream.getvalue(), 9)).decode("ascii")


def unpack(record: CodeRecord) -> Mapping[str, bytes]:
    """The sources by their path in the core. Raises UsageError if they were too large to keep."""
    if not record.sources:
        raise UsageError(
            f"the sources of code {record.digest} are not in the database: {record.num_files} files of "
            f"{record.num_bytes:,} bytes, above the limit of {LARGEST_BYTES:,}",
            f"See git commit {record.git_commit}." if record.git_commit else "Keep large files elsewhere.",
        )
    content = zlib.decompress(base64.b64decode(record.sources))
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(member.name, tar.extractfile(member)) for member in tar if member.isfile()]
        return {name: file.read() for name, file in members if file is not None}


def write_sources(sources: Mapping[str, bytes], folder: Path) -> Path:
    """Write the sources as the package `folder`/hlbgpt_core; returns that. Raises UsageError if it exists already or
    cannot be written."""
    package = folder / PACKAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        package.mkdir()
        for name, content in sources.items():
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts:
                raise UsageError(f"the database names a file outside the core: '{name}'", "Nothing was written there.")
            (package / place).parent.mkdir(parents=True, exist_ok=True)
            (package / place).write_bytes(content)
    except FileExistsError:
        raise UsageError(f"'{package}' exists already", "Name a new folder.") from None
    except OSError as error:
        raise UsageError(f"'{package}' cannot be written: {error.strerror}", "Name another folder.") from None
    return package
