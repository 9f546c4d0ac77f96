#!/usr/bin/env python3
"""What a scrape costs a node with many connections and keys: how long it takes, and what a client notices of it.

    tools/scrapebench.py target/release/dunlin [--connections 10000] [--keys 1000000]

The node is scraped as often as it makes a new page, ten times a second, while one client writes keys one by one.
"""

import argparse
import resource
import socket
import subprocess
import threading
import time
import urllib.request


def command(conn, *args):
    conn.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
    return conn.recv(4096)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def spread(times):
    times = sorted(times)
    return f"median {times[len(times) // 2]:.3f} ms, 99.9 % {times[int(len(times) * 0.999)]:.3f} ms, slowest {times[-1]:.3f} ms"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, args.connections + 1000), hard))
    port, metrics = free_port(), free_port()
    server = subprocess.Popen([args.server, "--port", str(port), "--metrics-port", str(metrics), "--maxclients", str(args.connections + 100),
                               "--save", "", "--enable-debug-command", "yes"], stdout=subprocess.DEVNULL)
    try:
        client = connect(port)
        client.settimeout(60)
        command(client, b"DEBUG", b"POPULATE", b"%d" % args.keys, b"key", b"100")
        others = [connect(port) for _ in range(args.connections)]
        for other in others:
            command(other, b"PING")

        def scrape():
            start = time.perf_counter()
            page = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics").read().decode()
            took = (time.perf_counter() - start) * 1000
            made = next(line for line in page.splitlines() if line.startswith("dunlin_scrape_duration_seconds "))
            waited = next(line for line in page.splitlines() if line.startswith("dunlin_slot_lock_wait_seconds_total "))
            return took, float(made.split()[1]) * 1000, len(page), float(waited.split()[1]) * 1000

        def probe():
            waits = []
            for n in range(30_000):
                start = time.perf_counter()
                command(client, b"SET", b"key:%d" % (n % 1000), b"x")
                waits.append((time.perf_counter() - start) * 1000)
            return spread(waits)

        scrapes = []
        for _ in range(30):
            scrapes.append(scrape())
            time.sleep(0.12)
        print(f"a page of {scrapes[-1][2]} bytes: {spread([s[0] for s in scrapes])}; of which making it: {spread([s[1] for s in scrapes])}")
        print(f"a client's SET without scrapes: {probe()}")
        done = threading.Event()

        def hammer():
            while not done.wait(0.1):
                scrape()

        waited = scrape()[3]
        thread = threading.Thread(target=hammer)
        thread.start()
        print(f"a client's SET with ten a second: {probe()}")
        done.set()
        thread.join()
        time.sleep(0.12)
        print(f"waits for locks of slots meanwhile, in sum: {scrape()[3] - waited:.3f} ms")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
