"""Pipes that give audio in odd pieces."""

import io


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time, in odd pieces."""

    def __init__(self, data, sizes):
        self.data, self.sizes, self.turn = data, sizes, 0

    def seekable(self):
        return False

    def read1(self, size):
        take = min(size, self.sizes[self.turn % len(self.sizes)])
        self.turn += 1
        out, self.data = self.data[:take], self.data[take:]
        return out

    read = read1
