"""What stands for a named file in the digest of a stage's content."""

import hashlib
from pathlib import Path

from wsis.readers.files.folder_files import read_bytes


def named_content(name: str, path: Path, where: str) -> bytes:
    """The name and the sha256 of the file's bytes, to be hashed with those of other files.

    Args: where: what names the file, for the message.

    Raises:
        DataError: the file is missing, unreadable or empty.
    """
    return f"{name}\0".encode() + hashlib.sha256(read_bytes(path, where)).digest()
