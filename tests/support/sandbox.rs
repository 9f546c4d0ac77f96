//! An interpreter whose commands are mute ones, and what must be true of it after any script.

use dunlin::base::clock;
use dunlin::base::os::{CpuOf, cpu_times};
use dunlin::resp::{Out, Proto};
use dunlin::script::vm::{Called, Host, Job, Vm};

/// Bytes that a script may use.
pub const MEMORY: usize = 16 << 20;
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

/// The reply of a script in RESP3, an error without its line's end.
pub fn run(vm: &mut Vm, code: &str) -> Vec<u8> {
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

/// Seconds that this thread worked: not those that passed, others may want the processor.
fn cpu_seconds() -> f64 {
    let times = cpu_times(CpuOf::Thread);
    times.user + times.system
}

/// What a script sees of its world, all the way down.
pub const WORLD: &str = "local seen, names = {}, {}
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

/// Runs a script, which `what` names: it ends in time and within its memory, and the next one is served.
pub fn check(vm: &mut Vm, code: &str, what: &str) {
    let start = cpu_seconds();
    run(vm, code);
    let took = cpu_seconds() - start;
    let memory = vm.memory();
    assert!(took < 3.0, "{took} s: {what}\n{code}");
    assert!(memory < 2 * MEMORY, "{memory} bytes: {what}\n{code}");
    assert_eq!(run(vm, "return 1"), b":1\r\n", "{what}\n{code}");
}
