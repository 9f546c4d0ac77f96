"""redis-py's asyncio RedisCluster at work while a cluster changes: the counterpart of redis_py.py. Each task has a client of
its own: one that loses a node closes its connections while others of its tasks write to them, which then raise
AttributeError."""
import asyncio
import sys

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, MovedError

PORT = int(sys.argv[1])
KINDS = ["writes", "reads", "pipelines", "scans", "messages", "shards"]
# The slots that move in different ways: a shard channel is in each.
RANGES = [(0, 499), (500, 5460), (5461, 10922), (10923, 12000), (12001, 16383)]
FIXED = 300
BUSY = 3
done = dict.fromkeys(KINDS, 0)
written = {}
going = asyncio.Event()
holding = 0
stopped = False


def connect():
    retry = Retry(ConstantBackoff(0.2), 100_000)
    nodes = [ClusterNode("127.0.0.1", PORT)]
    return RedisCluster(startup_nodes=nodes, retry=retry, decode_responses=True, socket_timeout=5)


async def pause_if_held():
    global holding
    if not going.is_set():
        holding += 1
        if holding == BUSY:
            print("held", flush=True)
        await going.wait()


async def writer(r, number):
    n = 0
    while not stopped:
        await pause_if_held()
        n += 1
        key = f"write:{number}:{n % 200}"
        assert await r.set(key, n)
        written[key] = str(n)
        done["writes"] += 1


async def pipeliner(r):
    n = 0
    while not stopped:
        await pause_if_held()
        n += 1
        keys = [f"pipe:{(n * 20 + i) % 400}" for i in range(20)]
        pipe = r.pipeline()
        for key in keys:
            pipe.set(key, n)
            pipe.get(key)
        replies = await pipe.execute()
        assert replies == [True, str(n)] * 20, replies
        for key in keys:
            written[key] = str(n)
        done["pipelines"] += 1


async def reader(r):
    n = 0
    while not stopped:
        n = (n + 7) % FIXED
        assert await r.get(f"fixed:{n}") == str(n), n
        done["reads"] += 1


async def scan(r):
    return {key async for key in r.scan_iter(match="fixed:*", count=500)}


async def scanner(r):
    while not stopped:
        try:
            found = await scan(r)
        except ConnectionError:
            # A scan is told its nodes; one that dies ends it.
            await asyncio.sleep(0.1)
            continue
        assert found <= {f"fixed:{n}" for n in range(FIXED)}
        done["scans"] += 1
        await asyncio.sleep(0.005)


async def listener(r):
    p = r.pubsub(ignore_subscribe_messages=True)
    await p.subscribe("news")
    while not stopped:
        message = await p.get_message(timeout=0.5)
        done["messages"] += message is not None


async def speaker(r):
    while not stopped:
        await r.publish("news", "x")
        await asyncio.sleep(0.01)


def shard_channels(r):
    names = [f"shard:{n}" for n in range(1000)]
    return [next(name for name in names if low <= r.keyslot(name) <= high) for low, high in RANGES]


async def shard_listener(r, channels):
    # The client moves channels when it learns from its other commands that their slots have moved, which the speaker's
    # are for. It leaves to its user: a node that says "sunsubscribe" by itself (a primary that became a replica does, and
    # takes SPUBLISH as before), and MOVED for an answer to SSUBSCRIBE, where the client had asked a node that was behind.
    p = r.pubsub()
    await p.ssubscribe(*channels)
    heard = dict.fromkeys(channels, 0)
    lost = set()
    while not stopped:
        try:
            message = await p.get_sharded_message(timeout=0.01)
            if message is not None and message["type"] == "smessage":
                heard[message["channel"]] += 1
                done["shards"] = min(heard.values())
            if message is not None and message["type"] == "sunsubscribe":
                lost.add(message["channel"])
            for channel in list(lost):
                await p.ssubscribe(channel)
                lost.remove(channel)
        except MovedError as e:
            lost |= {channel for channel in channels if r.keyslot(channel) == e.slot_id}
            await asyncio.sleep(0.05)
        except (ConnectionError, RuntimeError):
            # Of a node that died, until its channels were moved: the client says so each time. Where it closes that
            # connection while it is read, that is a RuntimeError ("pubsub connection not set").
            await asyncio.sleep(0.05)


async def shard_speaker(r, channels):
    while not stopped:
        for channel in channels:
            await r.spublish(channel, "x")
        await asyncio.sleep(0.01)


async def guarded(name, work):
    try:
        await work
    except BaseException as e:
        print(f"error {name}: {type(e).__name__} {e}", flush=True)
        raise


async def tell():
    while True:
        print("progress", *done.values(), flush=True)
        await asyncio.sleep(0.1)


async def main():
    global holding, stopped
    going.set()
    r = await connect()
    for n in range(FIXED):
        await r.set(f"fixed:{n}", n)
    shards = await connect()
    channels = shard_channels(shards)
    works = {
        "writer": writer(await connect(), 0), "another writer": writer(await connect(), 1),
        "pipeliner": pipeliner(await connect()), "reader": reader(await connect()), "scanner": scanner(await connect()),
        "listener": listener(await connect()), "speaker": speaker(await connect()),
        "shard listener": shard_listener(shards, channels), "shard speaker": shard_speaker(shards, channels),
    }
    tasks = [asyncio.create_task(guarded(name, work)) for name, work in works.items()]
    telling = asyncio.create_task(tell())
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := (await orders.readline()).decode().strip():
        if order == "hold":
            holding = 0
            going.clear()
        elif order == "go":
            going.set()
        elif order == "stop":
            break
    stopped = True
    await asyncio.gather(*tasks)
    for key, value in written.items():
        assert await r.get(key) == value, key
    assert await scan(r) == {f"fixed:{n}" for n in range(FIXED)}
    telling.cancel()
    print("done", flush=True)


asyncio.run(main())
