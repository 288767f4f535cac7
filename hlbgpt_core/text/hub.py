"""Datasets of a hub, with the `datasets` library: `wikitext-103` and `hf:NAME[:CONFIG]`.

What the library has in its own cache needs no network. Without a network it would retry for 23 seconds. So we query the
hub once, briefly; if it does not answer, the library stays offline.

The train split trains. The split named validation, valid, val or dev validates; without one the last 5 % of
the train split's rows do. A split named test is the test text. Every row is a document; an empty one is left out.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hlbgpt_core.errors import DataError, HostDataError
from hlbgpt_core.private_files import is_fault_of_host
from hlbgpt_core.text.corpus import Corpus, Document, SplitText
from hlbgpt_core.text.sources import VALIDATION_SHARE, WIKITEXT, DatasetName

REACH_SECONDS = 3.0
REACH_SECONDS_IN_ALL = 4.0
ROWS_AT_ONCE = 1000
REASON_CHARACTERS = 300
VALIDATION_NAMES = ("validation", "valid", "val", "dev")
TEST_NAME = "test"
_WIKITEXT_ON_HUB = DatasetName(kind="hf", target="Salesforce/wikitext", config="wikitext-103-raw-v1")
# The text in wikitext's raw file for empty rows of the hub.
_WIKITEXT_EMPTY_LINE = " \n"
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429
# Libraries all of whose errors without an answer are the network's.
_NETWORK = frozenset({"aiohttp", "httpcore", "httpx", "requests", "urllib3"})


def hub_corpus(name: DatasetName) -> Corpus:
    """The corpus of `wikitext-103` or `hf:`; blocks while the library downloads.

    Raises DataError if it is unavailable: in under ten seconds, and as HostDataError, if the hub does not answer.
    """
    is_wikitext = name.kind == WIKITEXT
    on_hub = _WIKITEXT_ON_HUB if is_wikitext else name
    splits = _load(on_hub, asked_for=WIKITEXT if is_wikitext else _full_name(name))
    train_name = "train" if "train" in splits else next(iter(splits))
    train = splits[train_name]
    val_name = next((known for known in VALIDATION_NAMES if known in splits), None)
    if val_name is None:
        cut = len(train) - max(1, round(len(train) * VALIDATION_SHARE))
        train, val = train.select(range(cut)), train.select(range(cut, len(train)))
    else:
        val = splits[val_name]
    column = _text_column(train, _full_name(on_hub))
    has_test = TEST_NAME in splits and train_name != TEST_NAME and column in splits[TEST_NAME].features
    return Corpus(
        train=_split_of_rows(train, column, one_text=is_wikitext),
        val=_split_of_rows(val, column, one_text=is_wikitext),
        test=_split_of_rows(splits[TEST_NAME], column, one_text=is_wikitext) if has_test else None,
    )


def _load(name: DatasetName, asked_for: str) -> Any:
    import datasets
    from huggingface_hub import constants

    offline = bool(datasets.config.HF_HUB_OFFLINE) or not _hub_answers()
    try:
        with _offline(offline):
            return datasets.load_dataset(name.target, name.config or None)
    except Exception as error:  # the library passes on any error of its readers and the network
        reason = " ".join(str(error).split())[:REASON_CHARACTERS] or type(error).__name__
        where = "cannot be reached" if offline else "refuses it"
        kind = HostDataError if offline or _is_of_host(error) else DataError
        raise kind(
            f"dataset '{asked_for}' is not in the local cache '{datasets.config.HF_DATASETS_CACHE}', "
            f"and the hub at {constants.ENDPOINT} {where} ({reason})",
            "Offline, --dataset pystdlib and --dataset text:PATH work. Else check the name, "
            "or load the dataset once on this machine while it has a network.",
        ) from None


def _is_of_host(error: BaseException) -> bool:
    """Whether the disk or the network is to blame, or a hub that is down or busy, and not the dataset's name."""
    while True:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return bool(status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS)
        if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.split(".")[0] in _NETWORK:
            return True
        if isinstance(error, OSError) and is_fault_of_host(error):
            return True
        before = error.__cause__ or error.__context__
        if before is None:
            return False
        error = before


def _hub_answers() -> bool:
    """Whether the configured hub answers at all. The thread bounds a silent name server too."""
    answered = threading.Event()

    def ask() -> None:
        from huggingface_hub import constants, get_session

        try:
            answer = get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
        except Exception:  # any error of the library's client means no answer
            return
        if answer.status_code < _SERVER_ERROR:
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS_IN_ALL)
    return answered.is_set()


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Make `datasets` and its hub client use no network. Both read the environment only at import."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if offline:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _text_column(rows: Any, name: str) -> str:
    columns = [column for column, feature in rows.features.items() if getattr(feature, "dtype", "") in _TEXT_TYPES]
    if "text" in columns:
        return "text"
    if len(columns) == 1:
        return str(columns[0])
    raise DataError(
        f"dataset '{name}' has no column 'text', and not one single column of text: {', '.join(rows.features)}",
        "Write its text to files and use text:PATH.",
    )


_TEXT_TYPES = ("string", "large_string")


def _split_of_rows(rows: Any, column: str, *, one_text: bool) -> SplitText:
    def texts() -> Iterator[str]:
        for batch in rows.select_columns([column]).iter(batch_size=ROWS_AT_ONCE):
            yield from batch[column]

    def documents() -> Iterator[Document]:
        if one_text:
            yield (text or _WIKITEXT_EMPTY_LINE for text in texts())
            return
        for text in texts():
            if text:
                yield iter((text,))

    return SplitText(documents=documents, size_bytes=int(rows.data.nbytes))


def _full_name(name: DatasetName) -> str:
    return f"hf:{name.target}" + (f":{name.config}" if name.config else "")
