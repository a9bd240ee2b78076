"""The key schedule against the RFC's own trace: <https://www.rfc-editor.org/rfc/rfc8448#section-3>."""

import pytest

from pharos.wire.reality.groups import X25519, X25519Share
from pharos.wire.reality.hello import read_client_hello
from pharos.wire.reality.records import ContentType, RecordReader, RecordWriter, TrafficKey
from pharos.wire.reality.serverhello import read_server_hello
from pharos.wire.reality.suites import SUITES
from pharos.wire.reality.tls13 import KeySchedule, Transcript, early_secret, expand_label, finished_mac, next_secret

AES = SUITES[0x1301]

CLIENT_PRIVATE = "49af42ba7f7994852d713ef2784bcbcaa7911de26adc5642cb634540e7ea5005"
SERVER_PRIVATE = "b1580eeadf6dd589b8ef4f2d5652578cc810e9980191ec8d058308cea216a21e"
CLIENT_HELLO = """
    010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113031302010000910000000b0009
    000006736572766572ff01000100000a00140012001d0017001800190100010101020103010400230000003300260024001d002099381de560
    e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d0020001e0403050306030203080408050806040105
    01060102010402050206020202002d00020101001c00024001
"""
SERVER_HELLO = """
    020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100002e00330024001d0020c982887611
    2095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304
"""
FLIGHT_RECORD = """
    17030302a2d1ff334a56f5bff6594a07cc87b580233f500f45e489e7f33af35edf7869fcf40aa40aa2b8ea73f848a7ca07612ef9f945cb960b
    4068905123ea78b111b429ba9191cd05d2a389280f526134aadc7fc78c4b729df828b5ecf7b13bd9aefb0e57f271585b8ea9bb355c7c790207
    16cfb9b1183ef3ab20e37d57a6b9d7477609aee6e122a4cf51427325250c7d0e509289444c9b3a648f1d71035d2ed65b0e3cdd0cbae8bf2d0b
    227812cbb360987255cc744110c453baa4fcd610928d809810e4b7ed1a8fd991f06aa6248204797e36a6a73b70a2559c09ead686945ba246ab
    66e5edd8044b4c6de3fcf2a89441ac66272fd8fb330ef8190579b3684596c960bd596eea520a56a8d650f563aad27409960dca63d3e688611e
    a5e22f4415cf9538d51a200c27034272968a264ed6540c84838d89f72c24461aad6d26f59ecaba9acbbb317b66d902f4f292a36ac1b639c637
    ce343117b659622245317b49eeda0c6258f100d7d961ffb138647e92ea330faeea6dfa31c7a84dc3bd7e1b7a6c7178af36879018e3f252107f
    243d243dc7339d5684c8b0378bf30244da8c87c843f5e56eb4c5e8280a2b48052cf93b16499a66db7cca71e4599426f7d461e66f99882bd89f
    c50800becca62d6c74116dbd2972fda1fa80f85df881edbe5a37668936b335583b599186dc5c6918a396fa48a181d6b6fa4f9d62d513afbb99
    2f2b992f67f8afe67f76913fa388cb5630c8ca01e0c65d11c66a1e2ac4c85977b7c7a6999bbf10dc35ae69f5515614636c0b9b68c19ed2e31c
    0b3b66763038ebba42f3b38edc0399f3a9f23faa63978c317fc9fa66a73f60f0504de93b5b845e275592c12335ee340bbc4fddd502784016e4
    b3be7ef04dda49f4b440a30cb5d2af939828fd4ae3794e44f94df5a631ede42c1719bfdabf0253fe5175be898e750edc53370d2b
"""
SERVER_FINISHED = "9b9b141d906337fbd2cbdce71df4deda4ab42c309572cb7fffee5454b78f0718"
CLIENT_FINISHED = "a8ec436d677634ae525ac1fcebe11a039ec17694fac6e98527b642f2edd5ce61"
CLIENT_FINISHED_RECORD = """
    170303003575ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338ac98fc46deb384bd1caeac
    ab6867d726c40546
"""
DATA = bytes(range(50))
CLIENT_DATA_RECORD = """
    1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a297
    7014bd1e3deae63aeebb21694915e4
"""
CLIENT_ALERT_RECORD = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"


def octets(text: str) -> bytes:
    return bytes.fromhex("".join(text.split()))


@pytest.fixture
def transcript() -> Transcript:
    running = Transcript(AES)
    running.add(octets(CLIENT_HELLO))
    running.add(octets(SERVER_HELLO))
    return running


@pytest.fixture
def schedule() -> KeySchedule:
    share = read_client_hello(octets(CLIENT_HELLO)).shares[X25519]
    return KeySchedule(AES, X25519Share(octets(SERVER_PRIVATE)).exchange(share))


def test_both_ends_of_the_trace_share_a_secret() -> None:
    answer = read_server_hello(octets(SERVER_HELLO))
    shared = X25519Share(octets(CLIENT_PRIVATE)).exchange(answer.share)
    assert shared.hex() == "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d"
    assert answer.group == X25519


def test_the_schedule_is_that_of_the_trace(schedule: KeySchedule, transcript: Transcript) -> None:
    assert early_secret(AES).hex() == "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a"
    assert schedule.handshake.hex() == "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac"
    assert schedule.master.hex() == "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919"
    secrets = schedule.handshake_secrets(transcript.digest())
    assert secrets.client.hex() == "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21"
    assert secrets.server.hex() == "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38"
    assert expand_label(AES, secrets.server, b"key", b"", 16).hex() == "3fce516009c21727d0f2e4e86ee403bc"
    assert expand_label(AES, secrets.server, b"iv", b"", 12).hex() == "5d313eb2671276ee13000b30"


def test_the_records_of_the_trace_open_and_ours_are_the_same(schedule: KeySchedule, transcript: Transcript) -> None:
    secrets = schedule.handshake_secrets(transcript.digest())
    reader = RecordReader()
    reader.key = TrafficKey(AES, secrets.server)
    reader.feed(octets(FLIGHT_RECORD))
    opened = reader.next_record()
    assert opened is not None
    kind, flight = opened[0], bytes(opened[1])
    assert kind == ContentType.HANDSHAKE
    # The Finished is the last of it: four octets of head, and the verify_data.
    transcript.add(flight[:-36])
    assert finished_mac(AES, secrets.server, transcript.digest()) == octets(SERVER_FINISHED) == flight[-32:]
    transcript.add(flight[-36:])
    application = schedule.application_secrets(transcript.digest())
    assert application.client.hex() == "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
    assert application.server.hex() == "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"

    writer = RecordWriter()
    writer.key = TrafficKey(AES, secrets.client)
    verify_data = finished_mac(AES, secrets.client, transcript.digest())
    assert verify_data == octets(CLIENT_FINISHED)
    finished = writer.sealed(ContentType.HANDSHAKE, b"\x14\0\0\x20" + verify_data)
    assert finished == octets(CLIENT_FINISHED_RECORD)
    writer.key = TrafficKey(AES, application.client)
    assert writer.application_data(DATA) == octets(CLIENT_DATA_RECORD)
    assert writer.sealed(ContentType.ALERT, b"\1\0") == octets(CLIENT_ALERT_RECORD)


def test_the_schedule_of_sha384_is_as_long_as_its_hash() -> None:
    suite = SUITES[0x1302]
    transcript = Transcript(suite)
    secrets = KeySchedule(suite, bytes(32)).handshake_secrets(transcript.digest())
    assert len(secrets.client) == len(secrets.server) == len(next_secret(suite, secrets.client)) == 48
    assert len({secrets.client, secrets.server, next_secret(suite, secrets.client)}) == 3


def test_a_first_hello_goes_on_as_its_hash() -> None:
    plain, replaced = Transcript(AES), Transcript(AES)
    replaced.add(b"hello")
    hashed = replaced.digest()
    replaced.replace_by_hash()
    plain.add(b"\xfe\0\0\x20" + hashed)
    assert replaced.digest() == plain.digest()


def test_secrets_are_not_printed(schedule: KeySchedule, transcript: Transcript) -> None:
    secrets = schedule.handshake_secrets(transcript.digest())
    key = TrafficKey(AES, secrets.client)
    for shown in (repr(schedule), repr(secrets), repr(key)):
        assert secrets.client.hex() not in shown
        assert repr(secrets.client) not in shown
