import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.pki.canonical import decode_canonical, encode_canonical

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
documents = st.dictionaries(st.text(), values, max_size=4)


@given(document=documents)
def test_document_survives(document: dict[str, object]) -> None:
    assert decode_canonical(encode_canonical(document)) == document


def test_spelling_is_fixed() -> None:
    assert encode_canonical({"b": [1, None], "a": "ä"}) == b'{"a":"\\u00e4","b":[1,null]}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":01}',
        b'{"a":1E2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"\\u0061":1}',
        b'{"a":"\\/"}',
        '{"a":"ä"}'.encode(),
        '{"a":1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' * 4000 + b"1" + b"}" * 4000,
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_canonical(data)


@given(data=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_junk_is_refused_or_canonical(data: bytes) -> None:
    try:
        document = decode_canonical(data)
    except ValueError:
        return
    assert encode_canonical(document) == data
