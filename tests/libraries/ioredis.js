// What ioredis does with a server: streams with groups, scripts, functions, users, messages. The port is the argument;
// "done" is printed in the end.
const assert = require("assert");
const Redis = require("ioredis");

const port = Number(process.argv[2]);
const open = (options = {}) => new Redis({ port, lazyConnect: true, retryStrategy: null, ...options });

async function streams(r) {
  await r.xgroup("CREATE", "s", "g", "0", "MKSTREAM");
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push(await r.xadd("s", "*", "n", String(i)));
  const read = await r.xreadgroup("GROUP", "g", "a", "COUNT", "2", "STREAMS", "s", ">");
  assert.deepStrictEqual(read, [["s", [[ids[0], ["n", "0"]], [ids[1], ["n", "1"]]]]]);
  assert.strictEqual(await r.xack("s", "g", ids[0]), 1);
  assert.strictEqual((await r.xpending("s", "g"))[0], 1);
  assert.deepStrictEqual((await r.xautoclaim("s", "g", "b", 0, "0"))[1], [[ids[1], ["n", "1"]]]);
  assert.strictEqual((await r.xpending("s", "g", "-", "+", 10, "b"))[0][1], "b");
  const waiting = open();
  const blocked = waiting.xread("BLOCK", 10000, "STREAMS", "s", "$");
  while (Number(/blocked_clients:(\d+)/.exec(await r.info("clients"))[1]) === 0);
  const id = await r.xadd("s", "*", "n", "late");
  assert.deepStrictEqual(await blocked, [["s", [[id, ["n", "late"]]]]]);
  waiting.disconnect();
}

async function scripts(r) {
  // A command of its own: EVALSHA first, EVAL when the server does not know it.
  r.defineCommand("addto", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
  assert.strictEqual(await r.addto("n", 5), 5);
  await r.script("FLUSH");
  assert.strictEqual(await r.addto("n", 1), 6);
  const code = "#!lua name=lib\nserver.register_function('twice', function(k, a) return a[1] * 2 end)";
  assert.strictEqual(await r.call("FUNCTION", "LOAD", "REPLACE", code), "lib");
  assert.strictEqual(await r.fcall("twice", 0, "21"), 42);
}

async function users(r) {
  await r.acl("SETUSER", "ann", "on", ">pw", "~a*", "&news", "+get", "+set", "+subscribe", "+info", "+acl|whoami");
  const ann = open({ username: "ann", password: "pw" });
  assert.strictEqual(await ann.acl("WHOAMI"), "ann");
  assert.strictEqual(await ann.set("a1", "x"), "OK");
  await assert.rejects(ann.get("b"), /^ReplyError: NOPERM No permissions to access a key$/);
  await assert.rejects(ann.del("a1"), /NOPERM User ann has no permissions to run the 'del' command/);
  await assert.rejects(ann.subscribe("other"), /NOPERM No permissions to access a channel/);
  const ended = new Promise((resolve) => ann.on("end", resolve));
  assert.strictEqual(await r.acl("DELUSER", "ann"), 1);
  await ended;
  const wrong = open({ username: "ann", password: "pw" });
  wrong.on("error", () => {});
  await assert.rejects(wrong.connect().then(() => wrong.ping()), /WRONGPASS|closed/);
  wrong.disconnect();
}

async function messages(r) {
  const sub = open();
  const got = [];
  const three = new Promise((resolve) => {
    const note = (...args) => got.push(args.join(" ")) === 3 && resolve();
    sub.on("message", note);
    sub.on("pmessage", note);
    sub.on("smessage", note);
  });
  assert.strictEqual(await sub.subscribe("c"), 1);
  assert.strictEqual(await sub.psubscribe("c*"), 2);
  assert.strictEqual(await sub.ssubscribe("shard"), 1);
  assert.strictEqual(await r.publish("c", "hello"), 2);
  assert.strictEqual(await r.spublish("shard", "there"), 1);
  await three;
  assert.deepStrictEqual(got.sort(), ["c hello", "c* c hello", "shard there"]);
  assert.strictEqual(await sub.unsubscribe("c"), 1);
  sub.disconnect();
}

(async () => {
  const r = open();
  for (const part of [streams, scripts, users, messages]) await part(r);
  r.disconnect();
  console.log("done");
})();
