"""AmneziaWG, embedded: a sans-IO device and a Trio pump that carries its datagrams (docs/protocols/amneziawg.md).

Everything but ``udp``, ``pump``, ``tunnel``, ``memory`` and ``ping`` is sans-IO.
"""
