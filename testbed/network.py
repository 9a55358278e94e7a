"""The network between the hosts: one bridge, one cable per host, and cuts in between.

Host i is 10.77.0.(10+i) on the bridge, the machine itself 10.77.0.1; there is no way out to the
Internet. Guarantees: a host keeps address and MAC over kill and revive, as a real one does; a
cut is silent (packets vanish, nobody gets a reset or an error); cuts are written down and hold
over kill and revive; the machine reaches every live host whatever is cut.
"""

import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path

from machine import Failure, run
from state import BRIDGE

NETWORK = ipaddress.ip_network("10.77.0.0/24")
MACHINE = NETWORK[1]
NETNS_DIRECTORY = Path("/run/netns")
HOSTS_MAX = 200


@dataclass(frozen=True, order=True)
class Host:
    """One host of the testbed; everything about it follows from its number."""

    number: int

    @property
    def name(self):
        return f"h{self.number}"

    @property
    def address(self):
        return str(NETWORK[10 + self.number])

    @property
    def mac(self):
        # A new MAC after revive would leave the neighbours' ARP tables wrong for seconds.
        return f"02:c0:4d:a7:a0:{self.number:02x}"

    @property
    def netns(self):
        """Name of the namespace, and of the machine's end of the cable."""
        return f"chordata-{self.name}"

    @property
    def netns_file(self):
        return NETNS_DIRECTORY / self.netns


def parse(text):
    """The host that a text like `h3` or `chordata-h3` names, or None."""
    found = re.fullmatch(r"(?:chordata-)?h([1-9][0-9]{0,2})", text)
    if found is None or int(found[1]) > HOSTS_MAX:
        return None
    return Host(int(found[1]))


def hosts_in_kernel():
    """Hosts that have a namespace or a cable, also after a half-failed `up`."""
    names = set()
    for directory in (NETNS_DIRECTORY, Path("/sys/class/net")):
        if directory.is_dir():
            names.update(entry.name for entry in directory.glob("chordata-h*"))
    return {host for host in map(parse, names) if host is not None}


def _has_link(name):
    return Path(f"/sys/class/net/{name}").exists()


def ensure_bridge(state):
    """Builds the bridge, or what is missing of it."""
    if not _has_link(BRIDGE):
        _refuse_overlap()
        # Its own MAC: else the bridge's would change with every cable plugged in.
        run("ip", "link", "add", BRIDGE, "address", "02:c0:4d:a7:a0:00", "type", "bridge")
    run("ip", "link", "set", BRIDGE, "alias", str(state), "addrgenmode", "none", "up")
    run("ip", "address", "replace", f"{MACHINE}/{NETWORK.prefixlen}", "dev", BRIDGE)


def _refuse_overlap():
    for route in json.loads(run("ip", "-json", "-4", "route", "show") or "[]"):
        taken = route["dst"]
        if taken != "default" and ipaddress.ip_network(taken).overlaps(NETWORK):
            raise Failure(f"{NETWORK} is taken on this machine: {taken} on {route.get('dev', '?')}")


def remove_bridge():
    """True if there was one."""
    if not _has_link(BRIDGE):
        return False
    run("ip", "link", "delete", BRIDGE)
    return True


def attach(host):
    """Makes the host's namespace and plugs it in."""
    inside = ("ip", "-netns", host.netns)
    run("ip", "netns", "add", host.netns)
    run("ip", "link", "add", host.netns, "type", "veth",
        "peer", "name", "eth0", "address", host.mac, "netns", host.netns)
    run(*inside, "link", "set", "lo", "up")
    # addrgenmode none: no IPv6 on the wire, which would be a way around the cuts.
    run(*inside, "link", "set", "eth0", "addrgenmode", "none", "up")
    run(*inside, "address", "add", f"{host.address}/{NETWORK.prefixlen}", "dev", "eth0")
    run("ip", "link", "set", host.netns, "master", BRIDGE, "addrgenmode", "none", "up")


def unplug(host):
    """Takes the cable away: from now on the host is silent."""
    if _has_link(host.netns):
        run("ip", "link", "delete", host.netns)


def remove_namespace(host):
    if host.netns_file.exists():
        run("ip", "netns", "delete", host.netns)


@dataclass(frozen=True, order=True)
class Cut:
    """What `source` sends no longer arrives at `target`.

    `kind` is "packets" (nothing arrives) or "connections" (source cannot open connections nor
    use those that it opened; its answers on connections that target opened still arrive).
    """

    source: Host
    target: Host
    kind: str


def read_cuts(state):
    try:
        lines = (state / "partitions").read_text().splitlines()
    except FileNotFoundError:
        return set()
    fields = (line.split() for line in lines)
    return {Cut(parse(source), parse(target), kind) for source, target, kind in fields}


def write_cuts(state, cuts):
    lines = [f"{cut.source.name} {cut.target.name} {cut.kind}\n" for cut in sorted(cuts)]
    (state / "partitions").write_text("".join(lines))


def apply_cuts(host, cuts):
    """Loads a host's rules in one transaction: there is no moment without any.

    Dropping where packets arrive, not where they leave: the sender must see silence, while a
    drop at its own output would be reported to it as an error.
    """
    rules = [_drop(cut) for cut in sorted(cuts) if cut.target == host]
    # Matches all and changes nothing: it keeps connection tracking on from the start, so that a
    # later cut knows who opened the connections that are older than itself.
    rules.append("ct direction original accept")
    run("ip", "netns", "exec", host.netns, "nft", "-f", "-", stdin=_ruleset(rules))


def _drop(cut):
    opened_by_source = "ct direction original " if cut.kind == "connections" else ""
    return f"ip saddr {cut.source.address} {opened_by_source}drop"


def _ruleset(rules):
    body = "\n".join(rules)
    return f"""
        table inet chordata
        delete table inet chordata
        table inet chordata {{
            chain arriving {{
                type filter hook input priority filter; policy accept;
                {body}
            }}
        }}
    """
