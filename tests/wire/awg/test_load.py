from pharos.wire.awg.load import (
    BUSY_BACKLOG,
    BUSY_HOLD,
    HANDSHAKES_PER_SECOND,
    MAX_NETWORKS,
    PER_NETWORK_BURST,
    PER_NETWORK_RATE,
    LoadGauge,
    NetworkLimiter,
)


def test_a_burst_below_the_backlog_is_no_load():
    gauge = LoadGauge()
    assert not any(gauge.arrival(0.0) for _ in range(BUSY_BACKLOG - 1))
    assert gauge.arrival(0.0)


def test_a_steady_stream_that_is_worked_off_is_no_load():
    gauge = LoadGauge()
    assert not any(gauge.arrival(number / HANDSHAKES_PER_SECOND) for number in range(5000))


def test_load_lasts_a_while_and_then_ends():
    gauge = LoadGauge()
    for _ in range(10_000):
        gauge.arrival(0.0)
    assert gauge.arrival(BUSY_HOLD - 0.01)
    assert not gauge.arrival(2 * BUSY_HOLD)


def test_room_is_taken_and_worked_off():
    gauge = LoadGauge()
    assert sum(gauge.take(0.0) for _ in range(2 * BUSY_BACKLOG)) == BUSY_BACKLOG
    assert sum(gauge.take(0.05) for _ in range(BUSY_BACKLOG)) == HANDSHAKES_PER_SECOND // 20


def test_a_clock_that_goes_back_does_no_harm():
    gauge, limiter = LoadGauge(), NetworkLimiter()
    for now in (100.0, 0.0, 50.0, -5.0):
        assert not gauge.arrival(now)
        assert limiter.allow(("192.0.2.1", 1), now)


def test_a_network_gets_its_burst_and_then_its_rate():
    limiter, source = NetworkLimiter(), ("192.0.2.1", 1)
    assert [limiter.allow(source, 0.0) for _ in range(PER_NETWORK_BURST + 1)] == [True] * PER_NETWORK_BURST + [False]
    assert limiter.allow(source, 1 / PER_NETWORK_RATE)
    assert not limiter.allow(source, 1 / PER_NETWORK_RATE)


def test_ports_share_a_bucket_and_so_does_an_ipv6_64():
    limiter = NetworkLimiter()
    for port in range(PER_NETWORK_BURST):
        assert limiter.allow(("192.0.2.1", port), 0.0)
        assert limiter.allow((f"2001:db8::{port:x}", 1), 0.0)
    assert not limiter.allow(("192.0.2.1", 99), 0.0)
    assert not limiter.allow(("2001:db8::ffff", 1), 0.0)
    assert limiter.allow(("2001:db8:0:1::1", 1), 0.0)
    assert limiter.allow(("::ffff:192.0.2.2", 1), 0.0)
    assert not limiter.allow(("::ffff:192.0.2.1", 1), 0.0)


def test_the_stalest_bucket_gives_way():
    limiter = NetworkLimiter()
    for number in range(MAX_NETWORKS + 10):
        limiter.allow((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1), 0.0)
    assert len(limiter._buckets) == MAX_NETWORKS
