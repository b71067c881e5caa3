"""The one XMP property that matters here, `Iptc4xmpExt:DigitalSourceType`, read from any file.

Called by `provenance` with uploads. Packets are found by scanning for their markers, as XMP Specification Part 3
allows: that works alike for PNG, JPEG, WebP and GIF (whose XMP Pillow does not read) and decodes no pixels of a
stranger's file. A packet is a claim that anybody can write; it is never proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

_START, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_PROPERTY = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
MAX_PACKETS = 16
MAX_PACKET_BYTES = 256 * 1024


def digital_source_type(content: bytes) -> str | None:
    """The first non-empty value in the file's packets, or None; a packet that is not XML is passed over."""
    for packet in _packets(content):
        for element in packet.iter():
            value = element.get(_PROPERTY) or (element.text if element.tag == _PROPERTY else None)
            if value and value.strip():
                return value.strip()
    return None


def _packets(content: bytes) -> Iterator[Element]:
    position = 0
    for _ in range(MAX_PACKETS):
        start = content.find(_START, position)
        end = content.find(_END, start, start + MAX_PACKET_BYTES) if start >= 0 else -1
        if end < 0:
            return
        position = end + len(_END)
        try:
            yield fromstring(content[start:position])
        except (ParseError, DefusedXmlException, ValueError):
            continue
