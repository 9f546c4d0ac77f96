"""What redis-py does with a server, synchronous and with asyncio, in both protocol versions: streams with groups,
scripts, functions, users, messages. The port is the argument; "done" is printed in the end."""
import asyncio
import sys

import redis
import redis.asyncio
import redis.backoff
import redis.retry

PORT = int(sys.argv[1])
CODE = "#!lua name=lib\nserver.register_function('twice', function(k, a) return a[1] * 2 end)"
LUA = "return redis.call('incrby', KEYS[1], ARGV[1])"
RULES = dict(enabled=True, passwords=["+pw"], keys=["a*"], commands=["+get", "+set", "+acl|whoami", "+client"])


def entries(read):
    """The entries of the one stream that was read, in either form."""
    (stream,) = [v for v in (read.values() if isinstance(read, dict) else [v for _, v in read])]
    flat = stream[0] if isinstance(read, dict) else stream
    return [(i, f) for i, f in flat]


def sync(protocol):
    r = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
    r.flushall()
    # Streams.
    assert r.xgroup_create("s", "g", "0", mkstream=True)
    ids = [r.xadd("s", {"n": i}) for i in range(3)]
    assert entries(r.xreadgroup("g", "a", {"s": ">"}, count=2)) == [(ids[0], {"n": "0"}), (ids[1], {"n": "1"})]
    assert r.xack("s", "g", ids[0]) == 1 and r.xpending("s", "g")["pending"] == 1
    assert r.xautoclaim("s", "g", "b", 0)[1] == [(ids[1], {"n": "1"})]
    assert r.xpending_range("s", "g", "-", "+", 10)[0]["consumer"] == "b"
    assert r.xinfo_groups("s")[0]["name"] == "g" and r.xinfo_stream("s")["length"] == 3
    # Scripts and functions.
    add = r.register_script(LUA)
    assert add(keys=["n"], args=[5]) == 5
    r.script_flush()
    assert add(keys=["n"], args=[1]) == 6, "it is sent again when the server has forgotten it"
    assert r.function_load(CODE, replace=True) == "lib" and r.fcall("twice", 0, 21) == 42
    assert r.function_stats() and r.function_list()
    # Users.
    assert r.acl_setuser("ann", **RULES)
    ann = redis.Redis(port=PORT, protocol=protocol, username="ann", password="pw", decode_responses=True)
    assert ann.acl_whoami() == "ann" and ann.set("a1", "x")
    for denied in (lambda: ann.get("b"), lambda: ann.delete("a1")):
        try:
            denied()
            assert False, "that was not allowed"
        except redis.exceptions.NoPermissionError as e:
            assert "No permissions" in str(e) or "has no permissions" in str(e)
    user = r.acl_getuser("ann")
    assert "on" in user["flags"] and "+get" in user["commands"] and "~a*" in user["keys"], user
    log = r.acl_log()[0]
    assert (log["reason"], log["object"], log["username"]) == ("command", "del", "ann")
    assert float(log["age-seconds"]) < 60 and "ann" in str(log["client-info"])
    assert "@dangerous" in "@" + " @".join(r.acl_cat()) and "hset" in r.acl_cat("hash")
    assert r.acl_dryrun("ann", "GET", "b").startswith("User ann has no permissions")
    assert sorted(r.acl_users()) == ["ann", "default"] and len(r.acl_list()) == 2 and len(r.acl_genpass()) == 64
    assert r.acl_deluser("ann") == 1
    try:
        no_second_try = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        redis.Redis(port=PORT, username="ann", password="pw", retry=no_second_try).ping()
        assert False, "there is no such user"
    except redis.exceptions.AuthenticationError:
        pass
    # Messages.
    s = r.pubsub(ignore_subscribe_messages=True)
    s.subscribe("c")
    s.psubscribe("c*")
    s.ssubscribe("shard")
    while not r.pubsub_shardnumsub("shard")[0][1]:
        pass
    assert r.publish("c", "hello") == 2 and r.spublish("shard", "there") == 1
    got = []
    while len(got) < 3:
        message = s.get_message(timeout=10) or s.get_sharded_message(timeout=10)
        if message:
            got.append((message["type"], message["channel"], message["data"]))
    assert sorted(got) == [("message", "c", "hello"), ("pmessage", "c", "hello"), ("smessage", "shard", "there")], got
    s.close()


async def asynchronous(protocol):
    r = redis.asyncio.Redis(port=PORT, protocol=protocol, decode_responses=True)
    await r.flushall()
    await r.xgroup_create("s", "g", "0", mkstream=True)
    waiting = asyncio.create_task(r.xreadgroup("g", "a", {"s": ">"}, block=10_000))
    while (await r.info("clients"))["blocked_clients"] == 0:
        await asyncio.sleep(0)
    first = await r.xadd("s", {"n": 0})
    assert entries(await waiting) == [(first, {"n": "0"})]
    assert (await r.xautoclaim("s", "g", "b", 0))[1] == [(first, {"n": "0"})]
    assert await r.xack("s", "g", first) == 1
    add = r.register_script(LUA)
    assert await add(keys=["n"], args=[5]) == 5
    assert await r.function_load(CODE, replace=True) == "lib" and await r.fcall("twice", 0, 21) == 42
    await r.acl_setuser("ann", **RULES)
    ann = redis.asyncio.Redis(port=PORT, protocol=protocol, username="ann", password="pw")
    assert await ann.set("a1", "x")
    try:
        await ann.get("b")
        assert False, "that was not allowed"
    except redis.exceptions.NoPermissionError:
        pass
    await ann.aclose()
    assert await r.acl_deluser("ann") == 1
    async with r.pubsub(ignore_subscribe_messages=True) as s:
        await s.subscribe("c")
        await s.psubscribe("c*")
        while not (await r.pubsub_numsub("c"))[0][1] or not await r.pubsub_numpat():
            await asyncio.sleep(0)
        assert await r.publish("c", "hello") == 2
        got = []
        while len(got) < 2:
            message = await s.get_message(timeout=10)
            if message:
                got.append((message["type"], message["data"]))
        assert sorted(got) == [("message", "hello"), ("pmessage", "hello")], got
    await r.aclose()


for version in (2, 3):
    sync(version)
    asyncio.run(asynchronous(version))
print("done")
