#!/usr/bin/env python3
"""A key of millions of elements moves to another node, or into a snapshot: what other clients feel of it.

usage: bigkeybench.py -s dunlin=target/release/dunlin [-s redis=redis-server] [--elements 5000000] [--types set,zset,...]
       [--slots | --save]

Two cluster nodes; the key goes by MIGRATE (with --slots: with its slot, by CLUSTER MIGRATESLOTS). Meanwhile four clients a
node set a key of another slot every millisecond; the slowest reply on either side is told, beside one of a quiet second
before.

With --save one node of one worker saves it by BGSAVE, and three clients send a request every millisecond: one changes the key
itself, one sets another key of its slot, and one a key elsewhere.
"""

import argparse
import os
import shutil
import subprocess
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
    """Clients of a node. (Those of the target ping: to it their slots are the source's.)"""

    def __init__(self, port, words, clients=4):
        self.slowest, self.stopped, self.error = 0.0, False, None
        self.threads = [threading.Thread(target=self.run, args=(port, words)) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, port, words):
        client = Client(port, 120)
        while not self.stopped:
            start = time.monotonic()
            try:
                reply = client(*words)
            except OSError as e:
                self.error = e
                return
            self.slowest = max(self.slowest, time.monotonic() - start)
            if reply[:1] == b"-":
                self.error = reply
                return
            time.sleep(0.001)

    def stop(self):
        """Ends them, and says what went wrong."""
        self.stopped = True
        for thread in self.threads:
            thread.join()
        if self.error:
            print("error:", self.error)


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
        others = [Others(ports[0], ("SET", "other", "value")), Others(ports[1], ("PING",))]
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
            o.stop()
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


def save(name, program, kind, args):
    directory, port = tempfile.mkdtemp(prefix="bigkey-"), free_ports(1, 19700)[0]
    node = subprocess.Popen([program, "--port", str(port), "--save", "", "--dir", directory, "--io-threads", "1",
                             "--logfile", os.path.join(directory, "log")], stdout=subprocess.DEVNULL)
    others = []
    try:
        until("an answer", lambda: Client(port)("PING") == b"+PONG")
        fill(port, kind, args.elements)
        own = {"string": ("SETRANGE", KEY, 0, "x"), "list": ("LSET", KEY, 0, "x"), "set": ("SADD", KEY, "x"),
               "zset": ("ZADD", KEY, 1, "x"), "hash": ("HSET", KEY, "x", "y"), "stream": ("XADD", KEY, "*", "x", "y")}[kind]
        words = [own, ("SET", "{%s}other" % KEY, "value"), ("SET", "other", "value")]
        others = [Others(port, w, 1) for w in words]
        time.sleep(1)
        quiet = [o.slowest for o in others]
        for o in others:
            o.slowest = 0
        start, client = time.monotonic(), Client(port)
        client("BGSAVE")
        until("its end", lambda: b"rdb_bgsave_in_progress:0" in client("INFO", "persistence"))
        seconds = time.monotonic() - start
        for o in others:
            o.stop()
        ms = " ".join(f"{q * 1000:6.1f} {o.slowest * 1000:8.1f} " for q, o in zip(quiet, others))
        print(f"{name:8} {kind:7} {args.elements:>10} {seconds:7.2f} s  {ms}", flush=True)
    finally:
        for o in others:
            o.stopped = True
        node.kill()
        node.wait()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", "--server", action="append", required=True, help="name=program")
    parser.add_argument("--elements", type=int, default=5_000_000)
    parser.add_argument("--types", default="set,zset,hash,list")
    parser.add_argument("--slots", action="store_true", help="by CLUSTER MIGRATESLOTS")
    parser.add_argument("--save", action="store_true", help="into a snapshot")
    args = parser.parse_args()
    columns = "key quiet, saving; its slot; elsewhere" if args.save else "source quiet, moving; target quiet, moving"
    print(f"server   type      elements      took   slowest reply, ms: {columns}")
    for kind in args.types.split(","):
        for server in args.server:
            name, program = server.split("=", 1)
            (save if args.save else run)(name, program, kind, args)


if __name__ == "__main__":
    main()
