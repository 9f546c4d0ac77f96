#!/usr/bin/env python3
"""Moving half of a node's slots to another while clients write: keys a second, client errors, slowest reply.

usage: reshardbench.py --dunlin target/release/dunlin [--redis redis-server] [--keys 1000000] [--size 100] [--rate 2000]
                       [--ways slots,cli,redis] [--replicas]

Three ways: Dunlin by CLUSTER MIGRATESLOTS, Dunlin by redis-cli --cluster reshard, redis-server by the same. All keys are on
the first of two nodes; all slots go to the second. With --replicas each of the two has one. The load increments counters over all slots, follows MOVED and ASK, and
counts what was acknowledged; every counter is looked at afterwards.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time

from failoverbench import Client, crc16, encode, free_ports, until


def fill(port, keys, size):
    client = Client(port, 60)
    value = b"x" * size
    for start in range(0, keys, 1000):
        batch = range(start, min(start + 1000, keys))
        client.socket.sendall(b"".join(encode(["SET", b"key:%012d" % n, value]) for n in batch))
        for _ in batch:
            if client.read() != b"+OK":
                raise SystemExit("the data could not be written")


class Load:
    def __init__(self, port, rate):
        self.port, self.rate = port, rate
        self.counts, self.errors, self.slowest, self.stopped = {}, [], 0.0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        clients, homes = {}, {}
        next_at, n = time.monotonic(), 0
        while not self.stopped:
            key = f"count:{n % 2000}"
            n += 1
            slot = crc16(key.encode()) % 16384
            at, asking, start = homes.get(slot, self.port), False, time.monotonic()
            for _ in range(100):
                client = clients.get(at) or clients.setdefault(at, Client(at, 30))
                if asking:
                    client("ASKING")
                reply = client("INCR", key)
                asking = False
                if reply[:1] == b":":
                    self.counts[key] = self.counts.get(key, 0) + 1
                    break
                word = reply.split()[0]
                if word in (b"-MOVED", b"-ASK"):
                    at = int(reply.rsplit(b":", 1)[1])
                    asking = word == b"-ASK"
                    if not asking:
                        homes[slot] = at
                elif word != b"-TRYAGAIN":
                    self.errors.append(reply)
                    break
            self.slowest = max(self.slowest, time.monotonic() - start)
            next_at += 1 / self.rate
            time.sleep(max(0, next_at - time.monotonic()))

    def stop(self, ports):
        self.stopped = True
        self.thread.join()
        lost = 0
        for key, count in self.counts.items():
            values = [Client(port)("GET", key) for port in ports]
            found = [value for value in values if value and not value.startswith(b"-")]
            lost += found != [str(count).encode()]
        return lost


def cluster(program, directory, ports, replicas=()):
    nodes = []
    for port in [*ports, *replicas]:
        place = pathlib.Path(directory) / str(port)
        place.mkdir()
        nodes.append(subprocess.Popen([program, "--port", str(port), "--cluster-enabled", "yes", "--save", "", "--dir",
                                       str(place), "--logfile", str(place / "log"), "--cluster-node-timeout", "15000",
                                       "--cluster-allow-replica-migration", "no"],
                                      stdout=subprocess.DEVNULL))
    for port in [*ports, *replicas]:
        until("an answer", lambda: Client(port)("PING") == b"+PONG")
    first = Client(ports[0])
    first("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    Client(ports[1])("CLUSTER", "SET-CONFIG-EPOCH", 2)
    first("CLUSTER", "MEET", "127.0.0.1", ports[1])
    until("a cluster", lambda: all(b"cluster_state:ok" in Client(port)("CLUSTER", "INFO")
                                   and b"cluster_known_nodes:2" in Client(port)("CLUSTER", "INFO") for port in ports))
    for port, primary in zip(replicas, ports):
        first("CLUSTER", "MEET", "127.0.0.1", port)
        node = Client(primary)("CLUSTER", "MYID")
        until("an acquaintance", lambda: Client(port)("CLUSTER", "REPLICATE", node) == b"+OK")
        until("a link", lambda: b"master_link_status:up" in Client(port)("INFO", "replication"))
    return nodes


def at_once(ports, first=0, last=16383):
    source, target = Client(ports[0], 600), Client(ports[1])
    node = target("CLUSTER", "MYID")
    if source("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", node) != b"+OK":
        raise SystemExit("MIGRATESLOTS was refused")
    while True:
        row = source("CLUSTER", "GETSLOTMIGRATIONS")[0]
        state = dict(zip(row[::2], row[1::2]))[b"state"]
        if state == b"success":
            return
        if state in (b"failed", b"cancelled"):
            raise SystemExit(f"the migration {state}: {row}")
        time.sleep(0.01)


def by_redis_cli(ports):
    source, target = (Client(port)("CLUSTER", "MYID").decode() for port in ports)
    subprocess.run(["redis-cli", "--cluster", "reshard", f"127.0.0.1:{ports[0]}", "--cluster-from", source, "--cluster-to",
                    target, "--cluster-slots", "16384", "--cluster-yes", "--cluster-pipeline", "100"],
                   check=True, stdout=subprocess.DEVNULL)


def run(name, program, way, args):
    directory = tempfile.mkdtemp(prefix="reshard-")
    ports = free_ports(4 if args.replicas else 2, 19500)
    ports, replicas = ports[:2], ports[2:]
    nodes = cluster(program, directory, ports, replicas)
    try:
        fill(ports[0], args.keys, args.size)
        load = Load(ports[0], args.rate)
        time.sleep(1)
        load.slowest = 0
        start = time.monotonic()
        way(ports)
        seconds = time.monotonic() - start
        slowest = load.slowest
        time.sleep(1)
        lost = load.stop(ports)
        moved = int(Client(ports[1])("DBSIZE")[1:])
        held = re.findall(r"writes held back for (\d+) us", (pathlib.Path(directory) / str(ports[0]) / "log").read_text())
        paused = f", writes held back for {int(held[0]) / 1000:.1f} ms" if held else ""
        print(f"{name:28} {moved:8} keys in {seconds:6.1f} s: {moved / seconds:8.0f} keys/s, slowest reply {slowest * 1000:6.1f} ms, "
              f"client errors {len(load.errors)}, wrong counters {lost} of {len(load.counts)}{paused}", flush=True)
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dunlin", required=True)
    parser.add_argument("--redis", default="redis-server")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--rate", type=int, default=2000, help="increments a second")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", default="slots,cli,redis")
    parser.add_argument("--replicas", action="store_true", help="each of the two nodes has a replica")
    args = parser.parse_args()
    for _ in range(args.rounds):
        for way in args.ways.split(","):
            name, program, move = {"slots": ("dunlin MIGRATESLOTS", args.dunlin, at_once),
                                   "cli": ("dunlin redis-cli reshard", args.dunlin, by_redis_cli),
                                   "redis": ("redis-server redis-cli reshard", args.redis, by_redis_cli)}[way]
            run(name, program, move, args)


if __name__ == "__main__":
    main()
