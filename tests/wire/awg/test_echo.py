from ipaddress import ip_address

import attrs

from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.icmp import Echo, build_echo, parse_echo

NODE, DEVICE = ip_address("10.7.0.1"), ip_address("10.7.0.2")
REQUEST = Echo(source=DEVICE, destination=NODE, identifier=1, sequence=1)


async def test_the_echo_end_answers_for_its_addresses_only():
    end = EchoEnd([NODE, ip_address("fd00::1")])
    other = attrs.evolve(REQUEST, destination=ip_address("10.7.0.9"))
    end.send_packets_nowait([build_echo(other), b"\x45junk", build_echo(REQUEST)])
    (answer,) = await end.receive_packets()
    assert parse_echo(answer) == attrs.evolve(REQUEST, source=NODE, destination=DEVICE, reply=True)


async def test_the_echo_end_takes_other_addresses_while_it_runs():
    end = EchoEnd([NODE])
    end.set_addresses([DEVICE])
    end.send_packets_nowait([build_echo(REQUEST), build_echo(attrs.evolve(REQUEST, destination=DEVICE))])
    (answer,) = await end.receive_packets()
    assert parse_echo(answer).source == DEVICE
