#!/usr/bin/env python3
"""Writes seeds for the fuzz targets: files and payloads of the redis-server of this machine, all types and encodings."""

import pathlib
import shutil
import socket
import subprocess
import tempfile
import time


def encode(words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Client:
    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port)).makefile("rwb")

    def __call__(self, *words):
        self.file.write(encode(words))
        self.file.flush()
        return self.read()

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fill(c, n):
    c("SET", "s", "x" * n)
    c("SET", "int", n * 1000)
    c("SET", "later", "v", "EX", 100000)
    for i in range(n):
        c("RPUSH", "list", f"element-{i}", i)
        c("SADD", "ints", i)
        c("SADD", "set", f"member-{i}")
        c("ZADD", "zset", i * 1.5, f"member-{i}")
        c("HSET", "hash", f"field-{i}", f"value-{i}")
        c("XADD", "stream", f"{i + 1}-0", "field", i, f"other-{i % 3}", "value")
    c("PFADD", "hll", *range(n))
    c("SETBIT", "bits", n, 1)
    c("XDEL", "stream", "2-0")
    c("XGROUP", "CREATE", "stream", "group", "0")
    c("XREADGROUP", "GROUP", "group", "alice", "COUNT", 2, "STREAMS", "stream", ">")
    c("XGROUP", "CREATECONSUMER", "stream", "group", "bob")
    c("MULTI")
    c("INCR", "int")
    c("SPOP", "set")
    c("EXEC")


def main():
    corpus = pathlib.Path(__file__).resolve().parent.parent / "fuzz" / "corpus"
    for name in ("rdb", "payload", "aof"):
        (corpus / name).mkdir(parents=True, exist_ok=True)
    for n in (3, 200):
        for compression in ("yes", "no"):
            directory = tempfile.mkdtemp(prefix="dunlin-seeds-")
            port = free_port()
            args = ["redis-server", "--port", str(port), "--dir", directory, "--save", "", "--appendonly", "yes"]
            args += ["--rdbcompression", compression, "--list-max-listpack-size", "16"]
            server = subprocess.Popen(args, stdout=subprocess.DEVNULL)
            try:
                for _ in range(200):
                    try:
                        c = Client(port)
                        break
                    except OSError:
                        time.sleep(0.02)
                fill(c, n)
                c("SAVE")
                shutil.copy(f"{directory}/dump.rdb", corpus / "rdb" / f"{n}-{compression}")
                for key in c("KEYS", "*"):
                    payload = c("DUMP", key)[:-10]
                    (corpus / "payload" / f"{key.decode()}-{n}-{compression}").write_bytes(payload)
                    c("SELECT", 9)
                    c("SELECT", 0)
                for file in pathlib.Path(directory, "appendonlydir").iterdir():
                    shutil.copy(file, corpus / "aof" / f"{n}-{compression}-{file.name}")
            finally:
                server.terminate()
                server.wait()
                shutil.rmtree(directory, ignore_errors=True)
    print(f"seeds are in {corpus}")


if __name__ == "__main__":
    main()
