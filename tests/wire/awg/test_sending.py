from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.batches import MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS, DatagramBatch, SlicedBuffer
from pharos.wire.awg.sending import OutgoingBuffer

ADDRESSES = [("192.0.2.1", 1), ("192.0.2.1", 2), ("2001:db8::1", 1)]

runs = st.tuples(
    st.sampled_from(ADDRESSES),
    st.integers(0, 1),
    st.sampled_from([32, 96, 500, 1452, 9000, MAX_BATCH_BYTES]),
    st.integers(1, 150),
    st.booleans(),
)


def fill(chunk, at, size, number):
    chunk.data[at : at + size] = number.to_bytes(4, "big") * (size // 4) + bytes(size % 4)


@given(st.lists(runs, max_size=12), st.integers(0, 3))
def test_every_datagram_comes_out_once_in_order_and_in_batches_the_kernel_takes(plan, takes):
    outgoing, expected, batches = OutgoingBuffer(), [], []
    number = 0
    for turn, (address, face, size, count, singly) in enumerate(plan):
        done = 0
        while done < count:
            if singly:
                chunk, at = outgoing.reserve_one(address, face, size)
                granted = 1
            else:
                chunk, at, granted = outgoing.reserve(address, face, size, count - done)
            assert 1 <= granted <= count - done
            for place in range(granted):
                fill(chunk, at + place * size, size, number)
                expected.append((address, face, size, number))
                number += 1
            done += granted
        if takes and turn % takes == 0:
            assert outgoing.size == sum(size for _, _, size, _ in expected) - sum(
                len(data) for _, _, _, data in batches
            )
            batches += [(batch.address, batch.face, batch.segment, bytes(batch.data)) for batch in outgoing.take()]
            assert outgoing.size == 0
    batches += [(batch.address, batch.face, batch.segment, bytes(batch.data)) for batch in outgoing.take()]
    came = []
    for address, face, segment, data in batches:
        assert len(data) <= MAX_BATCH_BYTES
        assert len(data) <= segment * MAX_BATCH_SEGMENTS
        for datagram in DatagramBatch(address, face, segment, data).split():
            came.append((address, face, len(datagram), int.from_bytes(datagram[:4], "big")))
    assert came == expected


def test_equal_datagrams_to_one_address_share_a_batch_and_a_shorter_one_ends_it():
    outgoing = OutgoingBuffer()
    for size in (100, 100, 100, 60, 60, 100):
        fill(*outgoing.reserve_one(ADDRESSES[0], 0, size), size, 0)
    assert [(batch.segment, len(batch.data)) for batch in outgoing.take()] == [(100, 360), (60, 60), (100, 100)]


def test_a_face_or_an_address_of_its_own_has_a_batch_of_its_own():
    outgoing = OutgoingBuffer()
    for address, face in ((ADDRESSES[0], 0), (ADDRESSES[0], 1), (ADDRESSES[1], 1), (ADDRESSES[1], 1)):
        fill(*outgoing.reserve_one(address, face, 50), 50, 0)
    assert [(batch.face, len(batch.split())) for batch in outgoing.take()] == [(0, 1), (1, 1), (1, 2)]


def test_slices_are_cut_once():
    buffer = SlicedBuffer(1000)
    rows = buffer.rows(10, 90, 100)
    assert len(rows) == 10
    rows[3][:] = b"x" * 90
    assert buffer.data[310:400] == b"x" * 90
    assert buffer.rows(10, 90, 100) is rows
    assert len(SlicedBuffer().rows(0, 10, 10)) == MAX_BATCH_SEGMENTS
    for size in range(1, 100):
        buffer.rows(0, size, size)
    assert len(buffer._rows) <= 16
