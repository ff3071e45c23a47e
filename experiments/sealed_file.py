"""Files of compressed images: a first line, a line of JSON, any bytes, and the SHA-256 of all this."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from genjax.errors import BadInput

DIGEST_BYTES = 32


def write(path: Path, magic: bytes, header: dict[str, Any], content: bytes) -> int:
    """Writes a file, and returns its number of bytes."""
    body = magic + json.dumps(header).encode() + b"\n" + content
    return path.write_bytes(body + hashlib.sha256(body).digest())


def read(path: Path, magic: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the content of a file.

    Raises:
      BadInput: not such a file, or a damaged one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", parameter="decompress") from None
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if not data.startswith(magic):
        raise BadInput("this is not a file of compressed images", parameter="decompress")
    if hashlib.sha256(body).digest() != digest:
        raise BadInput("the file is damaged: its SHA-256 is not the one at its end", parameter="decompress")
    line, _, content = body[len(magic) :].partition(b"\n")
    return json.loads(line), content
