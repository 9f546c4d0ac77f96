// The same with node-redis, in both protocol versions.
const assert = require("assert");
const { createClient, defineScript } = require("redis");

const port = Number(process.argv[2]);

function open(RESP, options = {}) {
  const add = defineScript({
    NUMBER_OF_KEYS: 1,
    SCRIPT: "return redis.call('incrby', KEYS[1], ARGV[1])",
    parseCommand(parser, key, n) {
      parser.pushKey(key);
      parser.push(String(n));
    },
    transformReply: undefined,
  });
  const socket = { port, reconnectStrategy: false };
  const client = createClient({ socket, RESP, scripts: { add }, ...options });
  client.on("error", () => {});
  return client;
}

async function streams(r, RESP) {
  await r.xGroupCreate("s", "g", "0", { MKSTREAM: true });
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push(await r.xAdd("s", "*", { n: String(i) }));
  const args = ["XREADGROUP", "GROUP", "g", "a", "COUNT", "2", "STREAMS", "s", ">"];
  const raw = await r.sendCommand(args);
  const entries = [[ids[0], ["n", "0"]], [ids[1], ["n", "1"]]];
  if (RESP === 2) assert.deepStrictEqual(raw, [["s", entries]]);
  assert.strictEqual(await r.xAck("s", "g", ids[0]), 1);
  assert.strictEqual((await r.xPending("s", "g")).pending, 1);
  const claimed = await r.xAutoClaim("s", "g", "b", 0, "0");
  assert.deepStrictEqual(claimed.messages.map((m) => [m.id, m.message.n]), [[ids[1], "1"]]);
  assert.strictEqual((await r.xPendingRange("s", "g", "-", "+", 10))[0].consumer, "b");
  if (RESP === 2) {
    const read = await r.xReadGroup("g", "a", [{ key: "s", id: ">" }], { COUNT: 5 });
    assert.deepStrictEqual(read[0].messages.map((m) => m.message.n), ["2"]);
  }
  assert.strictEqual((await r.xInfoGroups("s"))[0].name, "g");
}

async function scripts(r) {
  assert.strictEqual(await r.add("n", 5), 5);
  await r.scriptFlush();
  assert.strictEqual(await r.add("n", 1), 6);
  const code = "#!lua name=lib\nserver.register_function('twice', function(k, a) return a[1] * 2 end)";
  assert.strictEqual(await r.functionLoad(code, { REPLACE: true }), "lib");
  assert.strictEqual(await r.fCall("twice", { arguments: ["21"] }), 42);
  assert.strictEqual((await r.functionList())[0].library_name, "lib");
}

async function users(r, RESP) {
  assert.strictEqual(await r.aclSetUser("ann", ["on", ">pw", "~a*", "+get", "+set", "+acl|whoami"]), "OK");
  const ann = open(RESP, { username: "ann", password: "pw", disableClientInfo: true });
  await ann.connect();
  assert.strictEqual(await ann.aclWhoAmI(), "ann");
  assert.strictEqual(await ann.set("a1", "x"), "OK");
  await assert.rejects(ann.get("b"), /NOPERM No permissions to access a key/);
  await assert.rejects(ann.del("a1"), /NOPERM User ann has no permissions to run the 'del' command/);
  const user = await r.aclGetUser("ann");
  assert.ok([...user.flags].includes("on") && user.commands === "-@all +get +set +acl|whoami" && user.keys === "~a*");
  const log = await r.aclLog();
  assert.deepStrictEqual([log[0].reason, log[0].object, log[0].username], ["command", "del", "ann"]);
  assert.strictEqual(typeof log[0]["age-seconds"], "number");
  assert.strictEqual(await r.aclDryRun("ann", ["GET", "b"]), "User ann has no permissions to access the 'b' key");
  assert.strictEqual(await r.aclDelUser("ann"), 1);
  await assert.rejects(ann.ping());
  ann.destroy();
}

async function messages(r, RESP) {
  const sub = open(RESP);
  await sub.connect();
  const got = [];
  await new Promise(async (resolve) => {
    const note = (message, channel) => got.push(`${channel} ${message}`) === 3 && resolve();
    await sub.subscribe("c", note);
    await sub.pSubscribe("c*", note);
    await sub.sSubscribe("shard", note);
    assert.strictEqual(await r.publish("c", "hello"), 2);
    assert.strictEqual(await r.sPublish("shard", "there"), 1);
  });
  assert.deepStrictEqual(got.sort(), ["c hello", "c hello", "shard there"]);
  await sub.unsubscribe("c");
  sub.destroy();
}

(async () => {
  for (const RESP of [2, 3]) {
    const r = open(RESP);
    await r.connect();
    await r.flushAll();
    for (const part of [streams, scripts, users, messages]) await part(r, RESP);
    r.destroy();
  }
  console.log("done");
})();
