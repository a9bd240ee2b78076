import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.passage.notes import Note, Notes
from tests.support.strategies import quick

U64 = st.integers(0, 2**64 - 1)


@quick
@given(epoch=U64, rev=U64)
def test_a_note_is_read_again(epoch: int, rev: int) -> None:
    note = Note(epoch, rev)
    assert Note.decode(note.encode()) == note
    assert len(note.encode()) == 17


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_has_no_place_in_a_note_is_refused(number: int) -> None:
    for numbers in [(number, 0), (0, number)]:
        with pytest.raises(ValueError, match=str(number)):
            Note(*numbers)


@quick
@given(data=st.binary(max_size=40))
@example(data=b"")
@example(data=bytes(17))
@example(data=b"\x02" + bytes(16))
@example(data=Note(1, 2).encode() + b"\0")
def test_any_octets_are_one_note_or_none(data: bytes) -> None:
    try:
        note = Note.decode(data)
    except RemoteProtocolError:
        return
    assert note.encode() == data


def test_notes_order_as_bundles_do() -> None:
    assert Note() < Note(1, 1) < Note(1, 2) < Note(2, 1)


async def test_only_the_newest_note_waits_and_iteration_ends_with_the_passage() -> None:
    notes, heard = Notes(), []
    notes.put(Note(1, 1))
    notes.put(Note(1, 2))

    async def listen() -> None:
        async for note in notes:
            heard.append(note)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [Note(1, 2)]
        notes.put(Note(1, 3))
        await trio.testing.wait_all_tasks_blocked()
        notes.put(Note(1, 4))
        notes.end()
    assert heard == [Note(1, 2), Note(1, 3), Note(1, 4)]
    assert notes.newest == Note(1, 4)
