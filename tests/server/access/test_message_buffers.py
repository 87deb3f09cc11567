"""Memory of all connections: bounded, and at most half of it for one client."""

from wheatear.server.access.message_buffers import OWN_BYTES, Buffers, Share

MB = 1 << 20


def share(buffers: Buffers, owner: str) -> Share:
    return Share(buffers, owner)


def test_a_little_is_every_connections_own():
    buffers = Buffers(1)
    assert all(share(buffers, "a").holds(OWN_BYTES) for _ in range(1000))
    assert buffers.held == 0


def test_no_client_has_more_than_half():
    buffers = Buffers(64 * MB)
    greedy = [share(buffers, "greedy") for _ in range(100)]
    assert 20 <= sum(one.holds(MB) for one in greedy) <= 32
    assert buffers.held <= 32 * MB
    assert share(buffers, "modest").holds(20 * MB)


def test_all_clients_together_are_bounded():
    buffers = Buffers(64 * MB)
    shares = [share(buffers, f"client {n}") for n in range(100)]
    assert sum(one.holds(10 * MB) for one in shares) == 6
    assert buffers.held <= 64 * MB


def test_a_message_grows_and_shrinks():
    buffers = Buffers(64 * MB)
    one = share(buffers, "a")
    for size in range(0, 20 * MB, 100_000):
        assert one.holds(size)
        assert size - OWN_BYTES <= buffers.held <= size + MB
    assert one.holds(2 * MB)
    assert buffers.held < 4 * MB
    assert one.holds(OWN_BYTES)
    assert buffers.held == 0
    assert one.holds(5 * MB)
    one.release()
    one.release()
    assert buffers.held == 0


def test_what_was_refused_is_not_counted():
    buffers = Buffers(4 * MB)
    one = share(buffers, "a")
    assert one.holds(MB)
    held = buffers.held
    assert not one.holds(10 * MB)
    assert buffers.held == held
    assert one.holds(MB)
