#!/usr/bin/env python3
"""How long a cluster takes no writes when a primary is killed, side by side: kill -9 under load, many times.

usage: failoverbench.py -s dunlin='target/release/dunlin' -s redis='redis-server' [--rounds 30] [--rate 20000] [--timeout 1000]

Each server's cluster has three primaries and three replicas. A load of writes goes to all slots; in each round a primary is
killed with SIGKILL, and the time from there to the first write that one of its slots accepts again is measured. Then the
node is started again and must come back as a replica with its primary's data (DEBUG DIGEST). Rounds interleave the servers.
"""

import argparse
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def encode(words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Client:
    def __init__(self, port, timeout=1):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.settimeout(timeout)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        self.socket.sendall(encode(words))
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return line[:-2]


def free_ports(n, port=18000):
    found = []
    while len(found) < n:
        try:
            for p in (port, port + 10000):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", p))
            found.append(port)
        except OSError:
            pass
        port += 1
    return found


def until(what, right, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            if right():
                return
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come about")
        time.sleep(0.05)


class Cluster:
    def __init__(self, name, program, timeout, ports):
        self.name, self.program, self.timeout, self.ports = name, program.split(), timeout, ports
        self.dir = tempfile.mkdtemp(prefix=f"failover-{name}-")
        self.nodes = {}
        for port in ports:
            (pathlib.Path(self.dir) / str(port)).mkdir()
            self.start(port)
        for port in ports:
            until("an answer", lambda: Client(port)("PING") == b"+PONG")
        at = [f"127.0.0.1:{port}" for port in ports]
        subprocess.run(["redis-cli", "--cluster", "create", *at, "--cluster-replicas", "1", "--cluster-yes"],
                       check=True, stdout=subprocess.DEVNULL)
        self.wait_until_whole()

    def start(self, port):
        options = ["--port", port, "--cluster-enabled", "yes", "--cluster-node-timeout", self.timeout, "--save", "",
                   "--appendonly", "no", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes",
                   "--dir", f"{self.dir}/{port}", "--logfile", f"{self.dir}/{port}/log"]
        self.nodes[port] = subprocess.Popen([*self.program, *map(str, options)], stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL)

    def wait_until_whole(self):
        def whole():
            for port in self.ports:
                client = Client(port)
                info = client("INFO", "replication")
                if b"cluster_state:ok" not in client("CLUSTER", "INFO"):
                    return False
                if b"role:slave" in info and b"master_link_status:up" not in info:
                    return False
            # Every primary has a replica again.
            shards = {}
            for line in Client(self.ports[0])("CLUSTER", "NODES").decode().splitlines():
                words = line.split()
                if "fail" in words[2]:
                    return False
                if "slave" in words[2]:
                    shards[words[3]] = shards.get(words[3], 0) + 1
            return sum(shards.values()) == len(self.ports) // 2
        until(f"{self.name}: a whole cluster", whole)

    def slots(self):
        """The port of the owner of each slot."""
        owners = {}
        for port in self.ports:
            try:
                reply = Client(port)("CLUSTER", "SLOTS")
                for row in reply:
                    for slot in (int(row[0][1:]), int(row[1][1:])):
                        owners.setdefault(int(row[2][1][1:]), []).append(slot)
                return owners
            except OSError:
                continue
        raise SystemExit("no node answers")

    def stop(self):
        for process in self.nodes.values():
            process.terminate()
        for process in self.nodes.values():
            process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Load:
    """Writes at a steady rate to the primaries that are not to die."""

    def __init__(self, cluster, rate, victim):
        self.stopped = False
        self.done = 0
        owners = [port for port in cluster.slots() if port != victim]
        keys = {}
        n = 0
        while len(keys) < len(owners):
            slot = crc16(b"load%d" % n) % 16384
            client = Client(cluster.ports[0])
            reply = client("GET", f"load{n}")
            port = cluster.ports[0] if not (reply or b"").startswith(b"-MOVED") else int(reply.rsplit(b":", 1)[1])
            if port in owners:
                keys.setdefault(port, f"load{n}")
            n += 1
        self.keys = keys
        self.threads = [threading.Thread(target=self.run, args=(port, key, rate // len(keys))) for port, key in keys.items()]
        for thread in self.threads:
            thread.start()

    def run(self, port, key, rate):
        batch = max(1, rate // 100)
        request = encode(["INCR", key]) * batch
        client = Client(port, 5)
        next_at = time.monotonic()
        while not self.stopped:
            try:
                client.socket.sendall(request)
                for _ in range(batch):
                    client.read()
                self.done += batch
            except OSError:
                time.sleep(0.05)
                try:
                    client = Client(port, 5)
                except OSError:
                    pass
            next_at += batch / rate
            time.sleep(max(0, next_at - time.monotonic()))

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()


def round_of(cluster, rate, number):
    owners = cluster.slots()
    primaries = sorted(owners)
    victim = primaries[number % len(primaries)]
    # A key that the victim owns.
    n = 0
    while True:
        reply = Client(victim)("SET", f"probe{n}", number)
        if reply == b"+OK":
            break
        n += 1
    load = Load(cluster, rate, victim)
    time.sleep(1)
    before = load.done
    start = time.monotonic()
    cluster.nodes[victim].kill()
    cluster.nodes[victim].wait()
    others = [port for port in cluster.ports if port != victim]
    clients = {}
    accepted = None
    while accepted is None:
        for port in others:
            try:
                client = clients.get(port) or clients.setdefault(port, Client(port))
                if client("SET", f"probe{n}", number) == b"+OK":
                    accepted = time.monotonic() - start
                    break
            except OSError:
                clients.pop(port, None)
        if time.monotonic() - start > 60:
            raise SystemExit(f"{cluster.name}: no writes for a minute")
        time.sleep(0.005)
    writes = (load.done - before) / (time.monotonic() - start)
    load.stop()
    cluster.start(victim)
    cluster.wait_until_whole()
    client = Client(victim)
    role = client("ROLE")
    if role[0] != b"slave":
        raise SystemExit(f"{cluster.name}: the old primary came back as {role[0]}")
    primary = Client(int(role[2][1:]))
    until("equal data", lambda: client("DEBUG", "DIGEST") == primary("DEBUG", "DIGEST"))
    return accepted, writes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-s", "--server", action="append", required=True, help="name=program")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=20000)
    parser.add_argument("--timeout", type=int, default=1000, help="cluster-node-timeout, ms")
    args = parser.parse_args()
    ports = free_ports(6 * len(args.server))
    clusters = []
    try:
        for i, server in enumerate(args.server):
            name, program = server.split("=", 1)
            clusters.append(Cluster(name, program, args.timeout, ports[6 * i:6 * i + 6]))
        times = {cluster.name: [] for cluster in clusters}
        for number in range(args.rounds):
            for cluster in clusters:
                seconds, writes = round_of(cluster, args.rate, number)
                times[cluster.name].append(seconds * 1000)
                print(f"{number + 1:3} {cluster.name:10} {seconds * 1000:6.0f} ms without writes, {writes:6.0f} writes/s elsewhere",
                      flush=True)
        for name, ms in times.items():
            print(f"{name}: median {statistics.median(ms):.0f} ms, least {min(ms):.0f}, most {max(ms):.0f}, {len(ms)} rounds")
    finally:
        for cluster in clusters:
            cluster.stop()


if __name__ == "__main__":
    main()
