#!/usr/bin/env python3
"""A key of millions of elements moves to another node: what other clients of the two nodes feel of it.

usage: bigkeybench.py -s dunlin=target/release/dunlin [-s redis=redis-server] [--elements 5000000] [--types set,zset,...] [--slots]

Two cluster nodes; the key goes by MIGRATE (with --slots: with its slot, by CLUSTER MIGRATESLOTS). Meanwhile four clients a
node set a key of another slot every millisecond; the slowest reply on either side is told, beside one of a quiet second
before.
"""

import argparse
import shutil
import tempfile
import threading
import time

from failoverbench import Client, crc16, encode, free_ports, until
from reshardbench import at_once, cluster

KEY = "big"
SLOT = crc16(KEY.encode()) % 16384


def fill(port, kind, elements):
    words = {
        "string": lambda n: ("APPEND", KEY, b"%016d" % n),
        "list": lambda n: ("RPUSH", KEY, b"element:%d" % n),
        "set": lambda n: ("SADD", KEY, b"element:%d" % n),
        "zset": lambda n: ("ZADD", KEY, n, b"element:%d" % n),
        "hash": lambda n: ("HSET", KEY, b"element:%d" % n, b"value"),
        "stream": lambda n: ("XADD", KEY, "%d-1" % (n + 1), "field", b"element:%d" % n),
    }[kind]
    client = Client(port, 120)
    many = kind in ("list", "set", "zset", "hash")
    for start in range(0, elements, 2000):
        batch = range(start, min(start + 2000, elements))
        if many:
            argv = list(words(batch[0])[:2])
            for n in batch:
                argv += words(n)[2:]
            requests = [argv]
        else:
            requests = [words(n) for n in batch]
        client.socket.sendall(b"".join(encode(argv) for argv in requests))
        for _ in requests:
            if client.read()[:1] == b"-":
                raise SystemExit("the data could not be written")


class Others:
    """Clients of a node; those of the target get a slot of the source's, so they only ping."""

    def __init__(self, port, ping):
        self.slowest, self.stopped, self.error = 0.0, False, None
        self.threads = [threading.Thread(target=self.run, args=(port, ping)) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, port, ping):
        client = Client(port, 120)
        words = ("PING",) if ping else ("SET", "other", "value")
        while not self.stopped:
            start = time.monotonic()
            try:
                reply = client(*words)
            except OSError as e:
                self.error = e
                return
            self.slowest = max(self.slowest, time.monotonic() - start)
            if reply[:1] != b"+":
                self.error = reply
                return
            time.sleep(0.001)


def migrate(ports):
    reply = Client(ports[0], 600)("MIGRATE", "127.0.0.1", ports[1], KEY, 0, 60000)
    if reply != b"+OK":
        raise SystemExit(reply)


def run(name, program, kind, args):
    directory = tempfile.mkdtemp(prefix="bigkey-")
    ports = free_ports(2, 19700)
    nodes, others = cluster(program, directory, ports), []
    try:
        fill(ports[0], kind, args.elements)
        if not args.slots:
            ids = [Client(port)("CLUSTER", "MYID").decode() for port in ports]
            Client(ports[1])("CLUSTER", "SETSLOT", SLOT, "IMPORTING", ids[0])
            Client(ports[0])("CLUSTER", "SETSLOT", SLOT, "MIGRATING", ids[1])
        others = [Others(ports[0], False), Others(ports[1], True)]
        time.sleep(1)
        quiet = [o.slowest for o in others]
        for o in others:
            o.slowest = 0
        start = time.monotonic()
        if args.slots:
            at_once(ports, SLOT, SLOT)
        else:
            migrate(ports)
        seconds = time.monotonic() - start
        time.sleep(0.5)
        for o in others:
            o.stopped = True
            for thread in o.threads:
                thread.join()
            if o.error:
                print("error:", o.error)
        target = Client(ports[1], 60)
        if not args.slots:
            target("CLUSTER", "SETSLOT", SLOT, "NODE", ids[1])
        length = target({"string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN",
                         "stream": "XLEN"}[kind], KEY)
        ms = " ".join(f"{q * 1000:6.1f} {o.slowest * 1000:8.1f} " for q, o in zip(quiet, others))
        print(f"{name:8} {kind:7} {length.decode():>10} {seconds:7.2f} s  {ms}", flush=True)
    finally:
        for o in others:
            o.stopped = True
        for node in nodes:
            node.kill()
            node.wait()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", "--server", action="append", required=True, help="name=program")
    parser.add_argument("--elements", type=int, default=5_000_000)
    parser.add_argument("--types", default="set,zset,hash,list")
    parser.add_argument("--slots", action="store_true", help="by CLUSTER MIGRATESLOTS")
    args = parser.parse_args()
    print("server   type      elements      took   slowest reply, ms: source quiet, moving; target quiet, moving")
    for kind in args.types.split(","):
        for server in args.server:
            name, program = server.split("=", 1)
            run(name, program, kind, args)


if __name__ == "__main__":
    main()
