"""Hypothesis strategies for what the mapping package speaks of."""

from hypothesis import strategies as st

from portchain.ports.forward import Endpoint
from portchain.ports.publication import PROTOCOLS, Publication
from portchain.ports.syntax import ANY_PORT, PortRange

ports = st.integers(1, 65535)
protocols = st.sampled_from(["tcp", "udp"])
addresses = st.sampled_from(["", "0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "192.0.2.7", "::1", "2001:db8::7"])
ranges = st.tuples(ports, st.integers(0, 20)).map(lambda r: PortRange(r[0], min(r[0] + r[1], 65535)))
publications = st.builds(Publication, ports, st.sampled_from(PROTOCOLS), addresses, st.just(ANY_PORT) | ranges)
# Few ports, so that clashes are common.
endpoints = st.builds(Endpoint, protocols, addresses, st.integers(0, 3)) | st.builds(
    Endpoint, st.just("unix"), st.sampled_from(["/a", "/b"])
)
# Ports asked for differ, so that the host can have them all.
plannable = st.lists(
    st.builds(
        Publication,
        ports,
        protocols,
        addresses,
        st.just(ANY_PORT) | st.integers(1, 60000).map(lambda port: PortRange(port, port)),
    ),
    max_size=12,
    unique_by=lambda p: p.host if p.host != ANY_PORT else object(),
)
