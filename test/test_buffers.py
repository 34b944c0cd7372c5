import array

import numpy as np

from rosam_core.runtime.buffers import BufferPool


def address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]


def test_what_nobody_holds_is_handed_out_again() -> None:
    pool = BufferPool()
    first = pool.take(4, 5)
    where = address(first)
    del first
    again = pool.take(4, 5)
    assert address(again) == where
    assert again.shape == (4, 5)
    assert again.dtype == np.float32


def test_what_anybody_holds_is_never_handed_out() -> None:
    holders = (
        lambda a: a,
        lambda a: a[1:3, ::2],
        lambda a: a[1:3][0],  # a view of a view
        lambda a: memoryview(a),
        lambda a: np.frombuffer(a, np.uint8),
        lambda a: {"depth": [a]},
    )
    for hold in holders:
        pool = BufferPool()
        kept = hold(pool.take(4, 5))
        taken = [pool.take(4, 5) for _ in range(20)]
        assert len({address(t) for t in taken}) == 20
        if isinstance(kept, np.ndarray):
            assert not any(np.shares_memory(kept, t) for t in taken)


def test_a_copy_does_not_hold() -> None:
    pool = BufferPool()
    first = pool.take(4, 5)
    where = address(first)
    message = array.array("B")
    message.frombytes(memoryview(first).cast("B"))
    del first
    assert address(pool.take(4, 5)) == where


def test_other_sizes_and_read_only_arrays_are_left_alone() -> None:
    pool = BufferPool()
    first = pool.take(4, 5)
    first.setflags(write=False)
    del first
    assert pool.take(4, 5).flags.writeable
    assert pool.take(5, 4).shape == (5, 4)


def test_it_does_not_grow() -> None:
    pool = BufferPool(limit=3)
    kept = [pool.take(2, 2) for _ in range(50)]
    assert len(pool._buffers) == 3
    assert len({address(k) for k in kept}) == 50
    sizes = [pool.take(n, n).shape for n in range(1, 50)]
    assert sizes[-1] == (49, 49)
    assert len(pool._buffers) == 3
