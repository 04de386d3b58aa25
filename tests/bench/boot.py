"""How long a guest takes from its start to the engine's answer, from a warm image: the median of several boots.

Usage: python tests/bench/boot.py GUEST [BOOTS]
The guest is one that was provisioned before; it is powered off and started again each time.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from portchain.host import guests
from portchain.host.guest_spec import GuestSpec
from portchain.http import blocking_client


def boot(spec: GuestSpec) -> float:
    """Power the guest off, start it, and return the seconds until the engine answered."""
    guests.stop(spec.name)
    started = time.monotonic()
    guests.start(spec)
    blocking_client.wait_for_json(f"{spec.run_dir}/docker.sock", "/version", 60)
    return time.monotonic() - started


def main() -> int:
    """Print each boot and the median."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    name, boots = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 5
    spec = GuestSpec.load(Path(guests.spec_file(name)))
    taken = [boot(spec) for _ in range(boots)]
    print("  ".join(f"{seconds:.2f} s" for seconds in taken))
    print(f"median of {boots} boots to the engine's answer: {statistics.median(taken):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
