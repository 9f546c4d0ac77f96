// ioredis's Cluster at work while a cluster changes: writes, reads, pipelines, scans and messages, those of shards among
// them. The argument is the port of a node. Orders come by lines (hold, go, stop), progress goes out by lines; "done" is printed in the end, if nothing
// was rejected and every acknowledged write is there.
const assert = require("assert");
const readline = require("readline");
const calculateSlot = require("cluster-key-slot");
const { Cluster } = require("ioredis");

const port = Number(process.argv[2]);
const FIXED = 300;
const done = { writes: 0, reads: 0, pipelines: 0, scans: 0, messages: 0, shards: 0 };
// The slots that move in different ways: a shard channel is in each.
const RANGES = [[0, 499], [500, 5460], [5461, 10922], [10923, 12000], [12001, 16383]];
const written = new Map();
let [held, stopped, holding] = [false, false, 0];
const BUSY = 3;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
function connect(options) {
  const cluster = new Cluster([{ host: "127.0.0.1", port }], {
    maxRedirections: 100,
    retryDelayOnFailover: 100,
    retryDelayOnClusterDown: 100,
    slotsRefreshTimeout: 5000,
    ...options,
  });
  // Lost connections are mentioned here, too; what is not handled rejects a command.
  cluster.on("error", () => {});
  cluster.on("node error", () => {});
  return cluster;
}
async function mayWrite() {
  if (!held) return;
  holding++;
  if (holding === BUSY) console.log("held");
  while (held) await pause(10);
}

async function writer(r, number) {
  for (let n = 1; !stopped; n++) {
    await mayWrite();
    const key = `write:${number}:${n % 200}`;
    assert.strictEqual(await r.set(key, n), "OK");
    written.set(key, String(n));
    done.writes++;
  }
}
async function pipeliner(r) {
  for (let n = 1; !stopped; n++) {
    await mayWrite();
    // The keys of a pipeline belong to one node: here they share a slot.
    const keys = [...Array(20).keys()].map((i) => `pipe:{${n % 50}}:${i}`);
    // A pipeline that was served in part (some of its keys had moved on) is not repeated by ioredis: who uses it does.
    let replies;
    do {
      const pipe = r.pipeline();
      for (const key of keys) pipe.set(key, n).get(key);
      replies = await pipe.exec();
    } while (replies.some(([error]) => error && /^(ASK|MOVED|TRYAGAIN) /.test(error.message)));
    for (const [i, [error, reply]] of replies.entries()) {
      if (error) throw error;
      assert.strictEqual(reply, i % 2 ? String(n) : "OK");
    }
    for (const key of keys) written.set(key, String(n));
    done.pipelines++;
  }
}
async function reader(r) {
  for (let n = 0; !stopped; n = (n + 7) % FIXED) {
    assert.strictEqual(await r.get(`fixed:${n}`), String(n));
    done.reads++;
  }
}
async function scan(r) {
  const found = new Set();
  for (const node of r.nodes("master")) {
    let cursor = "0";
    do {
      const [next, keys] = await node.scan(cursor, "MATCH", "fixed:*", "COUNT", 500);
      for (const key of keys) found.add(key);
      cursor = next;
    } while (cursor !== "0");
  }
  return found;
}
async function scanner(r) {
  while (!stopped) {
    // The nodes of the moment: one that dies meanwhile ends the scan, and only that is forgiven.
    try {
      await scan(r);
    } catch (e) {
      if (!/Connection is closed|max retries|ECONN|is not writeable|All sentinels/.test(String(e))) throw e;
      await pause(100);
      continue;
    }
    done.scans++;
    await pause(5);
  }
}
async function listener(r) {
  r.on("message", () => done.messages++);
  await r.subscribe("news");
}
async function speaker(r) {
  while (!stopped) {
    await r.publish("news", "x");
    await pause(10);
  }
}
function shardChannels() {
  const names = [...Array(1000).keys()].map((n) => `shard:${n}`);
  const within = (name, [low, high]) => low <= calculateSlot(name) && calculateSlot(name) <= high;
  return RANGES.map((range) => names.find((name) => within(name, range)));
}
// A node says "sunsubscribe" by itself when a slot leaves it: the client looks for the new owner then.
async function shardListener(r, channels) {
  const heard = new Map(channels.map((channel) => [channel, 0]));
  r.on("smessage", (channel) => {
    heard.set(channel, heard.get(channel) + 1);
    done.shards = Math.min(...heard.values());
  });
  for (const channel of channels) await r.ssubscribe(channel);
}
async function shardSpeaker(r, channels) {
  while (!stopped) {
    for (const channel of channels) await r.spublish(channel, "x");
    await pause(10);
  }
}
function guarded(name, work) {
  return work.catch((e) => {
    console.log(`error ${name}: ${e && e.stack}`);
    process.exit(1);
  });
}

async function main() {
  const r = connect();
  for (let n = 0; n < FIXED; n++) await r.set(`fixed:${n}`, n);
  const busy = [writer(r, 0), writer(r, 1), pipeliner(r)].map((work) => guarded("writer", work));
  const others = [
    guarded("reader", reader(r)),
    guarded("scanner", scanner(r)),
    guarded("listener", listener(connect())),
    guarded("speaker", speaker(r)),
    guarded("shard listener", shardListener(connect({ shardedSubscribers: true }), shardChannels())),
    guarded("shard speaker", shardSpeaker(r, shardChannels())),
  ];
  setInterval(() => console.log("progress", ...Object.values(done)), 100);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "hold") [held, holding] = [true, 0];
    if (line === "go") held = false;
    if (line === "stop") break;
  }
  stopped = true;
  await Promise.all([...busy, ...others]);
  for (const [key, value] of written) assert.strictEqual(await r.get(key), value, key);
  assert.strictEqual((await scan(r)).size, FIXED);
  console.log("done");
  process.exit(0);
}
guarded("main", main());
