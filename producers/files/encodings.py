"""How the bytes of a file are text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 1 << 20
# Bytes of lines that are not UTF-8 which are looked at to guess what they are.
_SAMPLE = 32_768
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What the programs of the world save, apart from UTF-8 and UTF-16.
_CANDIDATES = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "mac_roman", "cp437", "cp850",
    "cp932", "gb18030", "big5", "cp949", "koi8_r",
]  # fmt: skip
_NAMES = {
    "cp1252": "Windows-1252 (Western European)",
    "cp1250": "Windows-1250 (Central European)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "mac_roman": "Mac Roman",
    "cp932": "Shift JIS (Japanese)",
    "gb18030": "GB 18030 (Chinese)",
}
# Letters, and the signs that letters of another codec are taken for.
_WORDS = re.compile("[A-Za-z\xa1-\u01ff\ufffd]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec of Python, what it does with bytes that it does not know, and what to tell a person of it."""

    codec: str
    errors: str
    name: str
    told: str | None = None
    # Whether a text may come out that is not whole: then every row is looked at.
    may_break: bool = True

    def is_bytes(self, head: bytes) -> bool:
        """Return whether the beginning of a file is no text at all."""
        if self.codec.startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
            return False
        return len(_CONTROLS.findall(head)) * 10 > len(head)


def encoding_of(binary: BinaryIO, given: str | None) -> Encoding:
    """Return how a file's bytes are text: as a person said, as its first bytes say, as UTF-8, or by a guess."""
    binary.seek(0)
    head = binary.read(_BLOCK)
    if given is not None:
        return _named(given, head)
    for bom, codec in _BOMS:
        if head.startswith(bom):
            return _named(codec, head)
    wide = _utf16_without_mark(head)
    if wide is not None:
        return Encoding(
            wide, "surrogatepass", "UTF-16", "The file is read as UTF-16 (detected); use --encoding to change it."
        )
    good, bad, sample = _survey(binary)
    if not bad:
        return Encoding("utf-8", "strict", "UTF-8", may_break=False)
    if good >= bad:
        # One line of another program in a file that is UTF-8 otherwise; only that line is lost.
        return Encoding("utf-8", "surrogateescape", "UTF-8")
    codec = _guess(sample)
    name = _NAMES.get(codec, codec)
    return Encoding(
        codec,
        "surrogateescape",
        name,
        f"The file is not UTF-8 and is read as {name} (detected); use --encoding to change it.",
    )


def _named(codec: str, head: bytes) -> Encoding:
    if codec in ("utf-8", "utf_8", "utf-8-sig") or head.startswith(codecs.BOM_UTF8):
        # The signature is no part of the first column's name.
        codec = "utf-8-sig" if codec in ("utf-8", "utf_8", "utf-8-sig") else codec
        return Encoding(codec, "surrogateescape", "UTF-8" if codec == "utf-8-sig" else codec)
    wide = codec.startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    if wide and codec.endswith(("le", "be")) and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        codec = codec[:6]
    return Encoding(codec, "surrogatepass" if wide else "surrogateescape", _NAMES.get(codec, codec.upper()))


def _utf16_without_mark(head: bytes) -> str | None:
    """Return the codec when every second byte of the beginning is NUL, as in UTF-16 of Western text."""
    head = head[:2_000]
    if len(head) < 8:
        return None
    even, odd = head[0::2], head[1::2]
    if odd.count(0) * 10 > len(odd) * 7 and even.count(0) * 10 < len(even):
        return "utf-16-le"
    if even.count(0) * 10 > len(even) * 7 and odd.count(0) * 10 < len(odd):
        return "utf-16-be"
    return None


def _survey(binary: BinaryIO) -> tuple[int, int, bytes]:
    """Return how many lines beyond ASCII are UTF-8 and how many are not, and some of the latter."""
    good = bad = 0
    sample = bytearray()
    for block in _blocks(binary):
        if block.isascii():
            continue
        for line in block.splitlines():
            if line.isascii():
                continue
            try:
                line.decode()
                good += 1
            except UnicodeDecodeError:
                bad += 1
                if len(sample) < _SAMPLE:
                    sample += line[:_SAMPLE] + b"\n"
    return good, bad, bytes(sample)


def _blocks(binary: BinaryIO) -> Iterator[bytes]:
    """Yield a file in blocks that end with a line, unless a line has no end."""
    binary.seek(0)
    rest = b""
    while chunk := binary.read(_BLOCK):
        block = rest + chunk
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) > 4 * _BLOCK:
            # Between two characters of UTF-8, which has at most three bytes that continue one.
            cut = len(block)
            while cut > len(block) - 4 and block[cut - 1] & 0xC0 == 0x80:
                cut -= 1
            cut -= block[cut - 1] >= 0xC0
        rest = block[cut:]
        yield block[:cut]
    yield rest


def _guess(sample: bytes) -> str:
    if _is_western(sample):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    return "cp1252" if best is None else best.encoding


def _is_western(sample: bytes) -> bool:
    """Return whether a text is one of letters with accents among plain ones, as the codec of most programs has them.

    Of few words the statistics of languages cannot tell Western from Central European.
    """
    text = sample.decode("cp1252", "replace")
    words = [word for word in _WORDS.findall(text) if not word.isascii()]
    accented = [word for word in words if 2 * sum(map(str.isascii, word)) >= len(word)]
    return bool(words) and len(accented) >= 0.8 * len(words) and all(word.isalpha() for word in accented)
