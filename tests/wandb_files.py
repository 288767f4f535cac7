"""Reads the files that wandb writes offline: LevelDB log blocks of `wandb_internal_pb2.Record`.

Format: github.com/google/leveldb/blob/main/doc/log_format.md, with a file header of 7 bytes (`:W&B`, a magic number,
a version) and a CRC32 (IEEE) over type and data.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = b":W&B"
BLOCK_BYTES = 32 * 1024
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """Every record of a `.wandb` file, its checksums checked."""
    from wandb.proto.wandb_internal_pb2 import Record

    for message in _messages(path.read_bytes()):
        record = Record()
        record.ParseFromString(message)
        yield record


def _messages(data: bytes) -> Iterator[bytes]:
    assert data[:4] == HEADER, data[:4]
    place, parts = 7, b""
    while place + 7 <= len(data):
        if BLOCK_BYTES - place % BLOCK_BYTES < 7:
            place += BLOCK_BYTES - place % BLOCK_BYTES
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, place)
        chunk = data[place + 7 : place + 7 + length]
        assert zlib.crc32(bytes([kind]) + chunk) == checksum, f"a damaged record at byte {place}"
        parts = chunk if kind in (_FULL, _FIRST) else parts + chunk
        place += 7 + length
        if kind in (_FULL, _LAST):
            yield parts


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of history in a file, as wandb would send them."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            rows.append({name: value for name, value in items.items() if name not in ("_timestamp", "_runtime")})
    return rows
