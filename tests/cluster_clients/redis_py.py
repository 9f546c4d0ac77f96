"""redis-py's RedisCluster at work while a cluster changes: writes, reads, pipelines, scans and messages, those of shards
among them. The argument is the port of a node. Orders come by lines (hold, go, stop), progress goes out by lines; "done" is printed in the end, if
nothing was raised and every acknowledged write is there."""
import sys
import threading
import time

from redis.backoff import ConstantBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError, MovedError, ResponseError, TimeoutError
from redis.retry import Retry

PORT = int(sys.argv[1])
KINDS = ["writes", "reads", "pipelines", "scans", "messages", "shards"]
# The slots that move in different ways: a shard channel is in each.
RANGES = [(0, 499), (500, 5460), (5461, 10922), (10923, 12000), (12001, 16383)]
FIXED = 300
done = dict.fromkeys(KINDS, 0)
written = {}
going, stopped = threading.Event(), threading.Event()
going.set()
writers = threading.Semaphore(0)


def connect():
    # It asks the others for the slots after each failure, and tries again at once: 3 seconds are many tries.
    retry = Retry(ConstantBackoff(0.2), 100_000)
    nodes = [ClusterNode("127.0.0.1", PORT)]
    return RedisCluster(startup_nodes=nodes, retry=retry, decode_responses=True, socket_timeout=5)


def pause_if_held():
    if not going.is_set():
        writers.release()
        going.wait()


def writer(number):
    r, n = connect(), 0
    while not stopped.is_set():
        pause_if_held()
        n += 1
        key = f"write:{number}:{n % 200}"
        assert r.set(key, n)
        written[key] = str(n)
        done["writes"] += 1


def pipeliner():
    r, n = connect(), 0
    while not stopped.is_set():
        pause_if_held()
        n += 1
        keys = [f"pipe:{(n * 20 + i) % 400}" for i in range(20)]
        pipe = r.pipeline()
        for key in keys:
            pipe.set(key, n)
            pipe.get(key)
        replies = pipe.execute()
        assert replies == [True, str(n)] * 20, replies
        for key in keys:
            written[key] = str(n)
        done["pipelines"] += 1


def reader():
    r, n = connect(), 0
    while not stopped.is_set():
        n = (n + 7) % FIXED
        assert r.get(f"fixed:{n}") == str(n), n
        done["reads"] += 1


def scanner():
    r = connect()
    while not stopped.is_set():
        try:
            found = set(r.scan_iter(match="fixed:*", count=500))
        except ConnectionError:
            # A scan is told its nodes; one that dies ends it.
            time.sleep(0.1)
            continue
        assert found <= {f"fixed:{n}" for n in range(FIXED)}
        done["scans"] += 1


def listener():
    p = connect().pubsub(ignore_subscribe_messages=True)
    p.subscribe("news")
    while not stopped.is_set():
        message = p.get_message(timeout=0.5)
        done["messages"] += message is not None


def speaker():
    r = connect()
    while not stopped.is_set():
        r.publish("news", "x")
        time.sleep(0.01)


def shard_channels(r):
    names = [f"shard:{n}" for n in range(1000)]
    return [next(name for name in names if low <= r.keyslot(name) <= high) for low, high in RANGES]


def shard_listener(r, channels):
    # The client moves channels when it learns from its other commands that their slots have moved, which the speaker's
    # are for. It leaves to its user: a node that says "sunsubscribe" by itself (a primary that became a replica does, and
    # takes SPUBLISH as before), and MOVED for an answer to SSUBSCRIBE, where the client had asked a node that was behind.
    p = r.pubsub()
    p.ssubscribe(*channels)
    heard = dict.fromkeys(channels, 0)
    lost = set()
    while not stopped.is_set():
        try:
            message = p.get_sharded_message(timeout=0.01)
            if message is not None and message["type"] == "smessage":
                heard[message["channel"]] += 1
                done["shards"] = min(heard.values())
            if message is not None and message["type"] == "sunsubscribe":
                lost.add(message["channel"])
            for channel in list(lost):
                p.ssubscribe(channel)
                lost.remove(channel)
        except MovedError as e:
            lost |= {channel for channel in channels if r.keyslot(channel) == e.slot_id}
            time.sleep(0.05)
        except (ConnectionError, TimeoutError):
            # Of a node that died, until its channels were moved: the client says so each time. (Where the thread that is told of
            # below takes an answer away, this one waits for it in vain.)
            time.sleep(0.05)
        except ResponseError as e:
            # A thread of the client's own connects again where it moves channels, while this one reads from the same
            # connection without the client's lock: it may be told what was the answer to that thread's first command.
            if "MAINT_NOTIFICATIONS" not in str(e):
                raise


def shard_speaker(r, channels):
    while not stopped.is_set():
        for channel in channels:
            r.spublish(channel, "x")
        time.sleep(0.01)


def guarded(work, *args):
    def run():
        try:
            work(*args)
        except BaseException as e:
            print(f"error {work.__name__}: {type(e).__name__} {e}", flush=True)
            raise
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def tell():
    while True:
        print("progress", *done.values(), flush=True)
        time.sleep(0.1)


r = connect()
for n in range(FIXED):
    r.set(f"fixed:{n}", n)
busy = [guarded(writer, 0), guarded(writer, 1), guarded(pipeliner)]
others = [guarded(work) for work in (reader, scanner, listener, speaker)]
shards = connect()
others += [guarded(work, shards, shard_channels(shards)) for work in (shard_listener, shard_speaker)]
guarded(tell)
for line in sys.stdin:
    order = line.strip()
    if order == "hold":
        going.clear()
        for _ in busy:
            writers.acquire()
        print("held", flush=True)
    elif order == "go":
        going.set()
    elif order == "stop":
        break
stopped.set()
for thread in busy + others:
    thread.join()
for key, value in written.items():
    assert r.get(key) == value, (key, value, r.get(key))
assert {*r.scan_iter(match="fixed:*", count=500)} == {f"fixed:{n}" for n in range(FIXED)}
print("done", flush=True)
