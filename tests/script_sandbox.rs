//! Random scripts in an interpreter: whatever they do, it ends, within its memory, and the next one finds everything as it was.
//!
//! `DUNLIN_SEED=<seed>` runs one script; `DUNLIN_SOAK_SECONDS=<n>` goes on for that long.

#[allow(dead_code, reason = "the differential test uses the rest")]
#[path = "support/lua.rs"]
mod lua;

use dunlin::base::{clock, rng};
use dunlin::resp::{Out, Proto};
use dunlin::script::vm::{Called, Host, Job, Kind, Vm};

const MEMORY: usize = 16 << 20;
/// A script may run for so long before it is ended, ns.
const PATIENCE: u64 = 20_000_000;

struct Mute {
    deadline: u64,
    reply: Vec<u8>,
}

impl Host for Mute {
    fn call(&mut self, argv: &[&[u8]], _: bool) -> Called {
        self.reply = match argv[0] {
            b"echo" => argv.get(1).copied().unwrap_or(b"+\r\n").to_vec(),
            b"fail" => b"-WRONG thing\r\n".to_vec(),
            b"args" => format!(":{}\r\n", argv.len()).into_bytes(),
            _ => return Called::Refused(b"Unknown command called from script".to_vec()),
        };
        Called::Done
    }
    fn reply(&mut self) -> &[u8] {
        &self.reply
    }
    fn may(&mut self, _: &[&[u8]]) -> Option<bool> {
        Some(true)
    }
    fn replicate_to(&mut self, _: u8) {}
    fn ending(&mut self) -> Option<String> {
        (clock::mono_ns() > self.deadline).then(|| "ended".to_owned())
    }
}

fn run(vm: &mut Vm, code: &str) -> Vec<u8> {
    let mut out = Out::new(Proto::Resp3);
    let Ok(function) = vm.compile(code.as_bytes()) else { return b"does not compile".to_vec() };
    let mut host = Mute { deadline: clock::mono_ns() + PATIENCE, reply: Vec::new() };
    let job = Job { function, name: "sha", keys: &[b"k"], args: &[b"a"] };
    let failure = vm.run(&job, &mut host, &mut out);
    vm.forget(function);
    match failure {
        Some(failure) => format!("-{}", failure.error).into_bytes(),
        None => out.take_bytes(),
    }
}

/// What a script sees of its world, all the way down.
const WORLD: &str = "local seen, names = {}, {}
local function walk(t, name)
  if seen[t] then return end
  seen[t] = true
  for k, v in pairs(t) do
    local at = name .. '.' .. tostring(k)
    names[#names + 1] = at .. ':' .. (type(v) == 'table' and 'table' or tostring(v))
    if type(v) == 'table' then walk(v, at) end
  end
end
walk({string = string, table = table, math = math, redis = redis, server = server, cjson = cjson, cmsgpack = cmsgpack,
  struct = struct, bit = bit, coroutine = coroutine, os = os, meta = getmetatable('')}, '')
for _, n in ipairs({'pcall', 'error', 'pairs', 'next', 'setmetatable', 'getmetatable', 'rawset', 'loadstring', 'tostring'}) do
  names[#names + 1] = n .. tostring(_G[n])
end
names[#names + 1] = tostring(rawget(_G, 'x')) .. tostring(getmetatable(_G).__index)
table.sort(names)
return table.concat(names, '\\n')";

#[test]
fn random_scripts_end_within_their_memory_and_leave_nothing_behind() {
    let one = std::env::var("DUNLIN_SEED").ok().and_then(|s| s.parse().ok());
    let soak = std::env::var("DUNLIN_SOAK_SECONDS").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(3);
    let until = clock::mono_ns() + soak * 1_000_000_000;
    let mut vm = Vm::new(Kind::Eval, MEMORY).unwrap();
    let world = run(&mut vm, WORLD);
    assert!(world.starts_with(b"$"), "{}", String::from_utf8_lossy(&world));
    let mut ran = 0;
    while ran == 0 || one.is_none() && clock::mono_ns() < until {
        let seed = one.unwrap_or_else(rng::seed_from_os);
        let code = lua::wild(&mut rng::Rng::new(seed));
        let start = clock::mono_ns();
        run(&mut vm, &code);
        let took = (clock::mono_ns() - start) / 1_000_000;
        let memory = vm.memory();
        assert!(took < 3_000, "{took} ms: DUNLIN_SEED={seed}\n{code}");
        assert!(memory < 2 * MEMORY, "{memory} bytes: DUNLIN_SEED={seed}\n{code}");
        assert_eq!(run(&mut vm, "return 1"), b":1\r\n", "DUNLIN_SEED={seed}\n{code}");
        if ran % 16 == 0 || one.is_some() {
            assert!(run(&mut vm, WORLD) == world, "the world is another: DUNLIN_SEED={seed}\n{code}");
        }
        ran += 1;
    }
    eprintln!("{ran} scripts");
}
