//! Random scripts over what a sandbox offers. Their replies are texts: `show` turns any value into one.

use dunlin::base::rng::Rng;

/// What each script begins with. Tables are shown in the order of their keys; what a failed call says is not shown.
pub const PRELUDE: &str = "local function show(v, d)
  d = d or 0
  local t = type(v)
  if t == 'number' then return string.format('%.14g', v) end
  if t == 'string' then return '\"' .. v .. '\"' end
  if t ~= 'table' then return (t == 'nil' or t == 'boolean') and tostring(v) or t end
  if d > 4 then return '...' end
  local keys, out = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return type(a) .. tostring(a) < type(b) .. tostring(b) end)
  for i, k in ipairs(keys) do
    if type(k) == 'number' or type(k) == 'string' then out[#out + 1] = tostring(k) .. '=' .. show(v[k], d + 1) end
  end
  return '{' .. table.concat(out, ',') .. '}'
end
local function try(f, ...)
  local r = {pcall(f, ...)}
  if not r[1] then return 'failed' end
  local out = {}
  for i = 2, 6 do out[#out + 1] = show(r[i]) end
  return table.concat(out, ';')
end
local out = {}
";

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "0.5",
    "-2.5",
    "255",
    "256",
    "65535",
    "1e15",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9007199254740993",
    "1e300",
    "1/0",
    "-1/0",
    "0/0",
];
const STRINGS: &[&str] = &[
    "''",
    "'a'",
    "'abc'",
    "'hello world'",
    "'12'",
    "'0x1F'",
    "' 5 '",
    "'\\0'",
    "'a\\0b'",
    "'\\255\\254'",
    "'%'",
    "'[a'",
    "'(a)(b)'",
    "'%d+'",
    "'^h'",
    "'l+'",
    "'a-b'",
    "'%1'",
    "'%f[%w]%w+'",
    "'%b()'",
    "'[^%s]*'",
    "'{\"a\":[1,2,{\"b\":null}]}'",
    "'[1,2.5,true]'",
    "'\\145\\1\\2'",
    "'\\196\\1'",
    "'>i4'",
    "'!8bh'",
    "'s'",
    "'c0'",
    "string.rep('ab', 20)",
    "('x'):rep(70)",
];
/// Functions, with what they take: `n` a number, `m` a small one, `p` a place, `s` a text, `t` a table, `l` a list, `a` anything, `f` a function.
const FUNCTIONS: &[(&str, &str)] = &[
    ("string.byte", "smm"),
    ("string.char", "mm"),
    ("string.find", "ssma"),
    ("string.format", "sa"),
    ("string.gmatch", "ss"),
    ("string.gsub", "sss"),
    ("string.gsub", "sst"),
    ("string.gsub", "ssfp"),
    ("string.len", "s"),
    ("string.lower", "s"),
    ("string.match", "ssm"),
    ("string.rep", "sm"),
    ("string.reverse", "s"),
    ("string.sub", "smm"),
    ("string.upper", "s"),
    ("table.concat", "tsmm"),
    ("table.getn", "t"),
    ("table.maxn", "t"),
    ("table.remove", "tm"),
    ("table.sort", "t"),
    ("math.abs", "n"),
    ("math.ceil", "n"),
    ("math.floor", "n"),
    ("math.fmod", "nn"),
    ("math.frexp", "n"),
    ("math.ldexp", "nm"),
    ("math.max", "nnn"),
    ("math.min", "nnn"),
    ("math.modf", "n"),
    ("math.pow", "nn"),
    ("math.sqrt", "n"),
    ("cjson.encode", "l"),
    ("cjson.decode", "s"),
    ("cmsgpack.pack", "lms"),
    ("cmsgpack.unpack", "s"),
    ("cmsgpack.unpack_one", "sm"),
    ("cmsgpack.unpack_limit", "smm"),
    ("struct.pack", "saan"),
    ("struct.unpack", "ssp"),
    ("struct.size", "s"),
    ("bit.band", "nn"),
    ("bit.bor", "nn"),
    ("bit.bxor", "nn"),
    ("bit.bnot", "n"),
    ("bit.lshift", "nm"),
    ("bit.rshift", "nm"),
    ("bit.arshift", "nm"),
    ("bit.rol", "nm"),
    ("bit.ror", "nm"),
    ("bit.bswap", "n"),
    ("bit.tohex", "nm"),
    ("bit.tobit", "n"),
    ("tonumber", "sm"),
    ("tonumber", "a"),
    ("type", "a"),
    ("unpack", "tmm"),
    ("select", "maa"),
    ("rawequal", "aa"),
    ("rawget", "ts"),
    ("next", "l"),
    ("redis.sha1hex", "s"),
    ("loadstring", "s"),
];

fn of<'a>(rng: &mut Rng, list: &[&'a str]) -> &'a str {
    list[rng.below(list.len() as u64) as usize]
}

/// An expression of a kind.
fn value(rng: &mut Rng, kind: char, depth: u32) -> String {
    match kind {
        // Small, where a big one would only fail.
        'm' => (rng.below(12) as i64 - 3).to_string(),
        // A place in a text.
        'p' => (1 + rng.below(8)).to_string(),
        'n' if rng.below(3) > 0 => value(rng, 'm', depth),
        'n' => of(rng, NUMBERS).to_owned(),
        's' if depth > 0 && rng.below(6) == 0 => format!("tostring({})", value(rng, 'n', depth - 1)),
        's' if depth > 0 && rng.below(8) == 0 => {
            format!("({} .. {})", value(rng, 's', depth - 1), value(rng, 's', depth - 1))
        }
        's' => of(rng, STRINGS).to_owned(),
        't' => {
            let mut items = Vec::new();
            for _ in 0..rng.below(5) {
                let item = value(rng, if depth > 0 { 'a' } else { 'n' }, depth.saturating_sub(1));
                items.push(match rng.below(4) {
                    0 => format!("[{}] = {item}", value(rng, 's', 0)),
                    1 => format!("k{} = {item}", rng.below(3)),
                    _ => item,
                });
            }
            format!("{{{}}}", items.join(", "))
        }
        // A list, or a table of one field: others have an order of their own.
        'l' => {
            let items: Vec<String> = (0..rng.below(5))
                .map(|_| match rng.below(4) {
                    0 if depth > 0 => value(rng, 'l', depth - 1),
                    1 => value(rng, 'n', 0),
                    2 => of(rng, &["true", "false"]).to_owned(),
                    _ => value(rng, 's', depth),
                })
                .collect();
            match rng.below(4) {
                0 => format!("{{[{}] = {{{}}}}}", value(rng, 's', 0), items.join(", ")),
                _ => format!("{{{}}}", items.join(", ")),
            }
        }
        'f' => format!(
            "function(a, b) return {} end",
            of(rng, &["a", "b", "nil", "1", "'<' .. tostring(a) .. '>'", "{}", "error('x')"])
        ),
        _ => {
            let kinds = ['n', 's', 't', 'n', 's'];
            match rng.below(9) {
                0 => of(rng, &["nil", "true", "false", "cjson.null"]).to_owned(),
                1 if depth > 0 => call(rng, depth - 1),
                _ => {
                    let kind = kinds[rng.below(5) as usize];
                    value(rng, kind, depth)
                }
            }
        }
    }
}

fn call(rng: &mut Rng, depth: u32) -> String {
    let (name, kinds) = FUNCTIONS[rng.below(FUNCTIONS.len() as u64) as usize];
    let mut args = Vec::new();
    for kind in kinds.chars() {
        let other = match kind {
            // Numbers out of range become what the processor makes of them.
            'm' | 'p' => 'f',
            'l' => 's',
            _ => 'a',
        };
        let kind = if rng.below(20) == 0 { other } else { kind };
        args.push(value(rng, kind, depth));
    }
    let given = if rng.below(3) == 0 { rng.below(args.len() as u64 + 1) as usize } else { args.len() };
    args.truncate(given.max(1));
    format!("try({name}, {})", args.join(", "))
}

/// A script whose reply depends on nothing but itself.
pub fn plain(rng: &mut Rng) -> String {
    let mut text = PRELUDE.to_owned();
    for _ in 0..1 + rng.below(8) {
        text.push_str(&format!("out[#out + 1] = {}\n", call(rng, 2)));
    }
    text + "return table.concat(out, '\\n')"
}

/// What takes long, takes much, or reaches for what it should not.
const WILD: &[&str] = &[
    "while true do end",
    "local s = 'x' while true do s = s .. s end",
    "local t = {} while true do t[#t + 1] = {} end",
    "local function f() return 1 + f() end f()",
    "local function f() return (string.gsub('a', 'a', f)) end f()",
    "local function f() return coroutine.wrap(f)() end f()",
    "for i = 1, 50 do pcall(coroutine.wrap(function() while true do end end)) end",
    "string.find(string.rep('a', 5000), string.rep('a-', 40) .. 'b')",
    "string.gsub(string.rep('a', 1e6), 'a', string.rep('b', 1e4))",
    "local t = {1} for i = 1, 50 do t = {t, t} end cjson.encode(t)",
    "local t = {1} for i = 1, 14 do t = {t, t, t, t, t, t} end cmsgpack.pack(t)",
    "cjson.decode(string.rep('[', 1e6))",
    "cmsgpack.unpack(string.rep('\\145', 1e6))",
    "table.insert({}, -2147483647, 1)",
    "local t = {} for i = 1, 1e5 do t[i] = i end table.sort(t, function(a, b) return true end)",
    "loadstring(string.rep('(', 1e5))",
    "loadstring('return ' .. string.rep('{', 1e5))",
    "loadstring(string.rep('a = {} ', 1e5))",
    "collectgarbage('collect')",
    "setfenv(1, {})",
    "getmetatable('').__index = {}",
    "rawset(_G, 'x', 1)",
    "setmetatable(_G, nil)",
    "for k in pairs(_G) do pcall(rawset, _G, k, nil) end",
    "for k in pairs(redis) do pcall(function() redis[k] = nil end) end",
    "string.format = nil",
    "table.sort({3, 2, 1}, function() error({err = 'mine'}) end)",
    "redis.call('fail')",
    "redis.pcall('echo', '%1\\r\\n+a\\r\\n*2\\r\\n:1\\r\\n$-1\\r\\n')",
    "redis.setresp(3)",
    "xpcall(function() while true do end end, function() while true do end end)",
    "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) return t[1]",
    "local t = setmetatable({}, {__concat = function() return {} end, __eq = function() while true do end end}) return t .. t",
    "cjson.encode_max_depth(1e9) local t = {} t[1] = t cjson.encode(t)",
    "string.rep('', 1e300)",
    "unpack({}, 1, 1e8)",
    "return coroutine.yield(1)",
];

/// A script that may do anything, alone or in coroutines and protected calls.
pub fn wild(rng: &mut Rng) -> String {
    let mut text = PRELUDE.to_owned();
    for _ in 0..1 + rng.below(4) {
        let line = match rng.below(3) {
            0 => format!("out[#out + 1] = {}", call(rng, 3)),
            _ => of(rng, WILD).to_owned(),
        };
        text.push_str(&match rng.below(4) {
            0 => format!("pcall(function() {line} end)\n"),
            1 => format!("coroutine.resume(coroutine.create(function() {line} end))\n"),
            2 => format!("pcall(loadstring({:?}))\n", line),
            _ => format!("do local r = (function() {line} end)() end\n"),
        });
    }
    text + of(
        rng,
        &[
            "return out",
            "return table.concat(out, ' ')",
            "return redis.pcall('args', unpack(out))",
            "return {map = {a = out}}",
        ],
    )
}
