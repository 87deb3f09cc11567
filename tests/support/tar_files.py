"""Headers of tar members, valid or not."""

import tarfile


def header(name, size, kind=b"0"):
    """A member's header with any size, which may be negative."""
    block = bytearray(tarfile.TarInfo(name).tobuf())
    if size < 0:
        block[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
    else:
        block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
