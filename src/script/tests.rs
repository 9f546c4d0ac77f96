//! Scripts without a server: the sandbox, the libraries, conversion.

use super::library::{Libraries, Library, Policy};
use super::vm::{Called, Host, Job, Kind, Vm};
use crate::resp::{Out, Proto};

/// A server whose commands are few.
#[derive(Default)]
struct Echo {
    reply: Vec<u8>,
    ticks: u32,
    patience: u32,
}

impl Host for Echo {
    fn call(&mut self, argv: &[&[u8]], resp3: bool) -> Called {
        self.reply = match argv[0] {
            b"echo" => argv[1].to_vec(),
            b"args" => [format!("${}\r\n", argv[1..].concat().len()).as_bytes(), &argv[1..].concat(), b"\r\n"].concat(),
            b"fail" => b"-WRONG thing\r\n".to_vec(),
            b"proto" => format!(":{}\r\n", if resp3 { 3 } else { 2 }).into_bytes(),
            b"stop" => return Called::Stop("Script killed by user with SCRIPT KILL.".to_owned()),
            _ => return Called::Refused(b"Unknown command called from script".to_vec()),
        };
        Called::Done
    }
    fn reply(&mut self) -> &[u8] {
        &self.reply
    }
    fn may(&mut self, argv: &[&[u8]]) -> Option<bool> {
        (argv[0] != b"nothing").then_some(argv[0] == b"echo")
    }
    fn replicate_to(&mut self, _: u8) {}
    fn ending(&mut self) -> Option<String> {
        self.ticks += 1;
        (self.ticks > self.patience).then(|| "Script killed by user with SCRIPT KILL.".to_owned())
    }
}

fn in_vm(vm: &mut Vm, proto: Proto, code: &str, args: &[&[u8]]) -> String {
    let mut out = Out::new(proto);
    let function = match vm.compile(code.as_bytes()) {
        Ok(f) => f,
        Err(e) => return format!("compile: {}", String::from_utf8_lossy(&e)),
    };
    let job = Job { function, name: "sha", keys: &[b"k"], args };
    let failure = vm.run(&job, &mut Echo::default(), &mut out);
    vm.forget(function);
    if let Some(failure) = failure {
        return format!("-{}", failure.error);
    }
    String::from_utf8_lossy(&out.take_bytes()).trim_end().replace("\r\n", " ")
}

fn eval(code: &str) -> String {
    in_vm(&mut Vm::new(Kind::Eval, 64 << 20).unwrap(), Proto::Resp2, code, &[b"a", b"b"])
}

#[test]
fn values_become_replies() {
    for (code, reply) in [
        ("return 'x'", "$1 x"),
        ("return 3.99", ":3"),
        ("return -7", ":-7"),
        ("return nil", "$-1"),
        ("return true", ":1"),
        ("return false", "$-1"),
        ("return {1, 'two', {3}, nil, 5}", "*3 :1 $3 two *1 :3"),
        ("return {ok = 'fine\\nly'}", "+fine ly"),
        ("return {err = 'BAD\\nness'}", "-BAD ness"),
        ("return {1, {err = 'X y'}}", "*2 :1 -X y"),
        ("return {double = 3.5}", "$3 3.5"),
        ("return {big_number = '123'}", "$3 123"),
        ("return {map = {a = 1}}", "*2 $1 a :1"),
        ("return {set = {a = true}}", "*1 $1 a"),
        ("return {verbatim_string = {format = 'txt', string = 'hi'}}", "$2 hi"),
        ("return KEYS[1] .. ARGV[1] .. ARGV[2] .. #ARGV", "$4 kab2"),
        ("return redis.status_reply('x')", "+x"),
        ("return redis.error_reply('MY code')", "-MY code"),
        ("return redis.error_reply('code')", "-ERR code"),
        ("return redis.error_reply()", "-ERR wrong number or type of arguments"),
        ("return redis.sha1hex('')", "$40 da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("return server.REPL_ALL + redis.REPL_SLAVE", ":5"),
        ("", "$-1"),
    ] {
        assert_eq!(eval(code), reply, "{code}");
    }
    let mut vm = Vm::new(Kind::Eval, 64 << 20).unwrap();
    for (code, reply) in [
        ("return {double = 3.5}", ",3.5"),
        ("return {big_number = '12\\r\\n3'}", "(12  3"),
        ("return {map = {a = 1}}", "%1 $1 a :1"),
        ("return {verbatim_string = {format = 'txt', string = 'hi'}}", "=6 txt:hi"),
        ("return true", ":1"),
        ("redis.setresp(3) return true", "#t"),
        ("return nil", "_"),
    ] {
        assert_eq!(in_vm(&mut vm, Proto::Resp3, code, &[]), reply, "{code}");
    }
}

#[test]
fn replies_become_values() {
    for (reply, code) in [
        ("$3\\r\\nabc\\r\\n", "r == 'abc'"),
        ("$-1\\r\\n", "r == false"),
        ("*-1\\r\\n", "r == false"),
        ("+OK\\r\\n", "r.ok == 'OK'"),
        (":12\\r\\n", "r == 12"),
        ("*2\\r\\n:1\\r\\n*1\\r\\n$1\\r\\nx\\r\\n", "r[1] == 1 and r[2][1] == 'x'"),
        ("%1\\r\\n+a\\r\\n:1\\r\\n", "r.map ~= nil"),
        ("~1\\r\\n$1\\r\\na\\r\\n", "r.set.a == true"),
        (",1.5\\r\\n", "r.double == 1.5"),
        ("#t\\r\\n", "r == true"),
        ("_\\r\\n", "r == nil"),
        ("(123\\r\\n", "r.big_number == '123'"),
        ("=6\\r\\ntxt:hi\\r\\n", "r.verbatim_string.string == 'hi' and r.verbatim_string.format == 'txt'"),
        ("|1\\r\\n+a\\r\\n+b\\r\\n:5\\r\\n", "r == 5"),
    ] {
        assert_eq!(eval(&format!("local r = redis.call('echo', '{reply}') return {code}")), ":1", "{reply}");
    }
}

#[test]
fn errors_of_commands_end_a_script_or_are_caught() {
    assert_eq!(eval("return redis.call('fail')"), "-WRONG thing script: sha, on @user_script:1.");
    assert_eq!(eval("return redis.pcall('fail')"), "-WRONG thing");
    assert_eq!(eval("return redis.pcall('fail').err"), "$11 WRONG thing");
    assert_eq!(eval("local ok, e = pcall(redis.call, 'fail') return e"), "$11 WRONG thing");
    assert_eq!(
        eval("return redis.call('nix')"),
        "-ERR Unknown command called from script script: sha, on @user_script:1."
    );
    assert_eq!(
        eval("return redis.call()"),
        "-ERR Please specify at least one argument for this call script: sha, on @user_script:1."
    );
    assert_eq!(
        eval("return redis.call('echo', {})"),
        "-ERR Command arguments must be strings or integers script: sha, on @user_script:1."
    );
    assert_eq!(eval("\n\nerror('x')"), "-ERR user_script:3: x script: sha, on @user_script:3.");
    assert_eq!(eval("error({err = 'MINE is'})"), "-MINE is script: sha, on @user_script:1.");
    assert_eq!(eval("return redis.call('args', 1, 1.5, 1e20, -0)"), "$10 11.51e+200");
    assert!(eval("return (").starts_with("compile: user_script:1: unexpected symbol near"));
}

#[test]
fn nothing_of_the_world_can_be_changed_or_reached() {
    for code in [
        "redis.call = 1",
        "string.rep = nil",
        "cjson.encode = nil",
        "_G.x = 1",
        "_G = {}",
        "x = 1",
        "KEYS = {}",
        "setmetatable(_G, {})",
        "setmetatable(redis, {})",
        "getmetatable(_G).__index = 1",
        "getmetatable('').__index = 1",
        "getmetatable('').__index.rep = 1",
        "rawset(_G, 'x', 1)",
        "rawset(redis, 'x', 1)",
        "table.insert(redis, 1)",
        "setfenv(0, {})",
        "local f, t = pairs(redis) rawset(t, 'x', 1)",
        "('').rep = 1",
    ] {
        let reply = eval(code);
        let refused = reply.contains("Attempt to modify a readonly table")
            || code == "('').rep = 1" && reply.contains("attempt to index");
        assert!(refused, "{code}: {reply}");
    }
    for name in ["print", "dofile", "loadfile", "require", "module", "package", "io", "debug", "newproxy", "foo"] {
        let wanted = format!("Script attempted to access nonexistent global variable '{name}'");
        assert!(eval(&format!("return {name}")).contains(&wanted), "{name}");
    }
    for (code, reply) in [
        ("return type(os.clock()) .. tostring(os.time)", "$9 numbernil"),
        ("return tostring(getmetatable(redis))", "$3 nil"),
        ("return type(getmetatable(_G))", "$5 table"),
        ("local n = 0 for k, v in pairs(redis) do n = n + 1 end return n > 10", ":1"),
        ("return type(rawget(_G, 'redis')) .. type(next(redis))", "$11 tablestring"),
        ("return ('x'):rep(3)", "$3 xxx"),
        ("return {xpcall(function() return 1, 2 end, error)}", "*3 :1 :1 :2"),
        ("return {xpcall(function() error('x', 0) end, function(e) return e .. '!' end)}", "*2 $-1 $2 x!"),
        ("return select(2, xpcall(function() error('x', 0) end, function(e) return e .. '!' end))", "$2 x!"),
        (
            "return select(2, xpcall(function() error('x', 0) end, function(e) error('y') end))",
            "$23 error in error handling",
        ),
        ("return loadstring('\\27Lua')", "$-1"),
        ("return loadstring('return 7')()", ":7"),
        ("local n = 0 return load(function() n = n + 1 return ({'return', ' 8'})[n] end)()", ":8"),
        ("return select('#', unpack({1, 2, 3}, 2))", ":2"),
        ("return select(2, pcall(unpack, {}, 0, 2147483647))", "$26 too many results to unpack"),
        ("return select(2, pcall(unpack, {}, -2147483648, 2147483647))", "$26 too many results to unpack"),
        ("local t = {1, 2} table.insert(t, 1, 0) table.insert(t, 3) return table.concat(t, ',')", "$7 0,1,2,3"),
        ("local t = {} setmetatable(t, {__index = function() return 5 end}) return t.x", ":5"),
        ("setfenv(1, {redis = redis}) return redis.sha1hex and 1", ":1"),
        ("return #_G + #redis", ":0"),
        ("collectgarbage('stop') return collectgarbage('count') > 1", ":1"),
    ] {
        assert_eq!(eval(code), reply, "{code}");
    }
}

#[test]
fn what_a_script_does_to_its_environment_ends_with_it() {
    let mut vm = Vm::new(Kind::Eval, 64 << 20).unwrap();
    let function = vm.compile(b"local r = x setfenv(1, {x = 5}) return r").unwrap();
    for _ in 0..2 {
        let job = Job { function, name: "f", keys: &[], args: &[] };
        let failure = vm.run(&job, &mut Echo::default(), &mut Out::default()).unwrap();
        assert!(failure.error.to_string().contains("nonexistent global variable 'x'"));
    }
}

#[test]
fn a_script_that_is_to_end_can_not_go_on() {
    for code in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local f f = function() pcall(f) while true do end end f()",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "while true do xpcall(coroutine.wrap(function() while true do end end), function() end) end",
    ] {
        let reply = eval(code);
        assert!(reply.starts_with("-ERR Script killed by user with SCRIPT KILL."), "{code}: {reply}");
    }
    let mut vm = Vm::new(Kind::Eval, 64 << 20).unwrap();
    assert!(in_vm(&mut vm, Proto::Resp2, "while true do end", &[]).contains("killed"));
    assert_eq!(in_vm(&mut vm, Proto::Resp2, "return 1", &[]), ":1");
    assert!(in_vm(&mut vm, Proto::Resp2, "pcall(redis.call, 'stop') while true do end", &[]).contains("killed"));
    assert_eq!(in_vm(&mut vm, Proto::Resp2, "return 1", &[]), ":1");
}

#[test]
fn memory_has_an_end() {
    let mut vm = Vm::new(Kind::Eval, 8 << 20).unwrap();
    for code in ["return #string.rep('x', 100e6)", "local t = {} for i = 1, 30 do t[i] = string.rep('x' .. i, 1e6) end"]
    {
        assert!(in_vm(&mut vm, Proto::Resp2, code, &[]).contains("not enough memory"), "{code}");
        assert_eq!(in_vm(&mut vm, Proto::Resp2, "return 1", &[]), ":1");
    }
}

#[test]
fn one_call_of_a_library_can_be_ended_too() {
    for code in [
        // Patterns that try everything.
        "return string.find(string.rep('a', 300), string.rep('a-', 30) .. 'b')",
        "return string.match(string.rep('a', 300), string.rep('a*', 30) .. 'b')",
        "return string.gsub(string.rep('a', 300), string.rep('a?', 300) .. string.rep('a-', 30) .. 'b', '')",
        "for x in string.gmatch(string.rep('a', 300), string.rep('a-', 30) .. 'b') do end",
        // A table that has itself many times.
        "local t = {1} for i = 1, 60 do t = {t, t} end return cjson.encode(t)",
        "local t = {1} for i = 1, 15 do t = {t, t, t, t, t, t, t, t} end return cmsgpack.pack(t)",
        "local t = {1} for i = 1, 60 do t = {t, t} end return t",
        "table.insert({}, -2147483647, 1)",
    ] {
        let reply = eval(code);
        let ended = reply.contains("Script killed by user") || reply.contains("not enough memory");
        assert!(ended, "{code}: {}", &reply[..reply.len().min(200)]);
    }
}

#[test]
fn strings_work_as_in_lua() {
    for (code, reply) in [
        ("return {string.find('hello world', 'o', 6)}", "*2 :8 :8"),
        ("return {string.find('a.b', '.', 1, true)}", "*2 :2 :2"),
        ("return {string.find('abc', '(b)(c)')}", "*4 :2 :3 $1 b $1 c"),
        ("return {string.find('abc', 'c', -1)}", "*2 :3 :3"),
        ("return {string.find('abc', '', 10)}", "*2 :4 :3"),
        ("return {string.find('', '')}", "*2 :1 :0"),
        ("return {string.match('k=v', '^(%w+)=(%w+)$')}", "*2 $1 k $1 v"),
        ("return string.match('2024-01', '%d+')", "$4 2024"),
        ("return {string.match('ab', '()b()')}", "*2 :2 :3"),
        (
            "local t = {} for k, v in string.gmatch('a=1, b=2', '(%w+)=(%w+)') do t[#t + 1] = k .. v end return t",
            "*2 $2 a1 $2 b2",
        ),
        ("local n = 0 for w in string.gmatch('abc', '') do n = n + 1 end return n", ":4"),
        ("return {string.gsub('hello', 'l', 'L')}", "*2 $5 heLLo :2"),
        ("return {string.gsub('hello', 'l', 'L', 1)}", "*2 $5 heLlo :1"),
        ("return {string.gsub('abc', '%w', '%0%0')}", "*2 $6 aabbcc :3"),
        ("return {string.gsub('ab', '(a)(b)', '%2%1')}", "*2 $2 ba :1"),
        ("return {string.gsub('abc', '', '-')}", "*2 $7 -a-b-c- :4"),
        ("return {string.gsub('a b', '%w', {a = 'x', b = false})}", "*2 $3 x b :2"),
        (
            "return {string.gsub('ab', '%w', setmetatable({}, {__index = function(_, k) return k .. k end}))}",
            "*2 $4 aabb :2",
        ),
        ("return {string.gsub('ab', '%w', function(c) if c == 'a' then return 1 end end)}", "*2 $2 1b :2"),
        ("return {string.gsub('aaa', '^a', 'b')}", "*2 $3 baa :1"),
        ("return string.rep('ab', 3) .. string.rep('x', -1) .. #string.rep('', 2147483647)", "$7 ababab0"),
        (
            "return select(2, pcall(string.gsub, 'a', 'a', true))",
            "$70 bad argument #3 to '?' (string/function/table expected)",
        ),
        (
            "return select(2, pcall(string.gsub, 'a', 'a', function() return {} end))",
            "$36 invalid replacement value (a table)",
        ),
        ("return select(2, pcall(string.find, 'a', '[a'))", "$31 malformed pattern (missing ']')"),
        ("return select(2, pcall(string.rep, 'x', 1e18))", "$17 not enough memory"),
        (
            "return select(2, pcall(string.gsub, string.rep('x', 1e5), 'x', string.rep('y', 1e4)))",
            "$17 not enough memory",
        ),
        ("return select(2, pcall(string.gsub, 'a', 'a', function() error('mine') end))", "$20 user_script:1: mine"),
        ("return select('#', ('x'):rep(3):find('x'))", ":2"),
    ] {
        let (got, wanted) =
            (eval(code), reply.split_once(' ').map_or(reply, |x| if reply.starts_with('$') { x.1 } else { reply }));
        let text = got.split_once(' ').filter(|_| got.starts_with('$')).map_or(&*got, |x| x.1);
        assert_eq!(text.trim_start_matches("user_script:1: "), wanted.trim_start_matches("user_script:1: "), "{code}");
    }
}

#[test]
fn json_is_written_and_read_as_lua_cjson_does() {
    for (code, reply) in [
        ("return cjson.encode({1, 2, {a = 'x/\"\\n\\1'}})", r#"$27 [1,2,{"a":"x\/\"\n\u0001"}]"#),
        ("return cjson.encode({})", "$2 {}"),
        ("return cjson.encode({0.1, 1e20, 12345678901234567})", "$33 [0.1,1e+20,1.2345678901235e+16]"),
        ("return cjson.encode({[1] = 1, [3] = 3})", "$10 [1,null,3]"),
        ("return cjson.encode({[5] = 1, x = 1}) ~= nil", ":1"),
        (
            "return select(2, pcall(cjson.encode, {[100] = 1}))",
            "$48 Cannot serialise table: excessively sparse array".trim(),
        ),
        ("return select(2, pcall(cjson.encode, 0/0))", "$47 Cannot serialise number: must not be NaN or Inf"),
        ("return select(2, pcall(cjson.encode, redis.call))", "-"),
        ("return cjson.decode('[1,2,{\"a\":null}]')[3].a == cjson.null", ":1"),
        ("return cjson.decode('\"\\\\u00e9\\\\ud83d\\\\ude00\"')", "$6 é😀"),
        (
            "return select(2, pcall(cjson.decode, '[1,2'))",
            "$67 Expected comma or array end but found T_END at character 5".trim(),
        ),
        ("return select(2, pcall(cjson.decode, '{'))", "-"),
        ("return select(2, pcall(cjson.decode, '[0x1F]'))[1]", ":31"),
        ("cjson.decode_invalid_numbers(false) return select(2, pcall(cjson.decode, '[0x1F]'))", "-"),
        ("return select(2, pcall(cjson.decode, string.rep('[', 1001)))", "-"),
        ("cjson.encode_max_depth(3) return select(2, pcall(cjson.encode, {{{{1}}}}))", "-"),
        ("return cjson.encode(cjson.decode('[]'))", "$2 {}"),
        ("cjson.decode_array_with_array_mt(true) return cjson.encode(cjson.decode('[]'))", "$2 []"),
        ("return tostring(cjson.encode_sparse_array(true, 3, 4)) .. cjson.encode({[100] = 1})", "-"),
        ("return cjson.encode_number_precision(3) .. cjson.encode(1/3)", "$6 30.333"),
        ("return {cjson.encode_invalid_numbers('null'), cjson.encode(1/0)}", "*2 $4 null $4 null"),
        ("return cjson.new().encode({1})", "$3 [1]"),
    ] {
        let got = eval(code);
        let (wanted, got) = match reply {
            "-" => continue_with(code, &got),
            // Lengths in front are not the point.
            r => {
                (r.split_once(' ').map_or(r, |x| x.1).to_owned(), got.split_once(' ').map_or(&*got, |x| x.1).to_owned())
            }
        };
        assert_eq!(got, wanted, "{code}");
    }
}

/// The text that an error of the library has.
fn continue_with(code: &str, got: &str) -> (String, String) {
    let wanted = match code {
        c if c.contains("redis.call") => "Cannot serialise function: type not supported",
        c if c.contains("'{'") => "Expected object key string but found T_END at character 2",
        c if c.contains("false)") => "Expected value but found invalid number at character 2",
        c if c.contains("1001") => "Found too many nested data structures (1001) at character 1001",
        c if c.contains("max_depth") => "Cannot serialise, excessive nesting (4)",
        _ => r#"true{"100":1}"#,
    };
    let got = got.split_once(' ').map_or(got, |x| x.1);
    (wanted.to_owned(), got.trim_start_matches("user_script:1: ").to_owned())
}

#[test]
fn msgpack_struct_and_bit_do_what_they_always_did() {
    for (code, reply) in [
        ("return cmsgpack.unpack(cmsgpack.pack({1, 'x', {a = true}}))[3].a", ":1"),
        ("return cmsgpack.pack(1, -1, 300, 'a', 1.5, false, 2^40)", "-"),
        ("return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2)}", "*3 :2 :1 :2"),
        ("return {cmsgpack.unpack_one(cmsgpack.pack(7))}", "*2 :-1 :7"),
        ("return select(2, pcall(cmsgpack.unpack, '\\220\\255'))", "Missing bytes in input."),
        ("return select(2, pcall(cmsgpack.unpack, '\\193'))", "Bad data format in input."),
        ("return select(2, pcall(cmsgpack.unpack, string.rep('\\145', 100000)))", "-"),
        (
            "return {struct.unpack('>hHi3s', struct.pack('>hHi3s', -2, 65535, -3, 'abc'))}",
            "*5 :-2 :65535 :-3 $3 abc :12",
        ),
        ("return struct.size('!8bi8')", ":16"),
        ("return select(2, pcall(struct.unpack, 'i99', 'x'))", "integral size 99 is larger than limit of 32"),
        ("return select(2, pcall(struct.unpack, 'c99999999999', 'x'))", "integral size overflow"),
        ("return select(2, pcall(struct.unpack, 'I', 'abc', 2))", "bad argument #2 to '?' (data string too short)"),
        (
            "return select(2, pcall(struct.unpack, 'c0', 'abc', -1))",
            "bad argument #3 to '?' (offset must be 1 or greater)",
        ),
        ("return select(2, pcall(struct.pack, '!3i', 1))", "alignment 3 is not a power of 2"),
        ("return bit.band(0xff, 0x0f) + bit.bor(1, 2, 4) + bit.bxor(5, 1)", ":26"),
        ("return bit.tohex(0xdeadbeef) .. bit.tohex(255, -4) .. bit.tohex(1, -2147483648)", "-"),
        (
            "return {bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-256, 4), bit.bnot(0), bit.bswap(1)}",
            "*5 :-2147483648 :15 :-16 :-1 :16777216",
        ),
    ] {
        let got = eval(code);
        let text = got.split_once(' ').filter(|_| got.starts_with('$')).map_or(&*got, |x| x.1);
        let text = text.trim_start_matches("user_script:1: ");
        match reply {
            "-" if code.contains("tohex") => assert_eq!(text, "deadbeef00FF00000001"),
            "-" if code.contains("145") => assert!(text.starts_with("stack overflow"), "{text}"),
            "-" => assert!(got.starts_with("$22 "), "{got}"),
            _ => assert_eq!(text, reply, "{code}"),
        }
    }
}

#[test]
fn libraries_register_functions_and_see_little_else() {
    let load =
        |code: &str| Library::examine(code.as_bytes(), true).map_err(|e| String::from_utf8_lossy(&e).into_owned());
    let lib = load(
        "#!lua name=mine\nlocal function f(keys, args) return 1 end\nredis.register_function('f', f)\n\
         server.register_function{function_name='g', callback=f, flags={'no-writes'}, description='d'}",
    )
    .unwrap();
    assert_eq!((lib.functions.len(), &lib.name[..]), (2, &b"mine"[..]));
    assert_eq!(lib.functions[1].description.as_deref(), Some(&b"d"[..]));
    for (code, why) in [
        ("redis.register_function('f', f)", "Missing library metadata"),
        ("#!lua name=a", "Invalid library metadata"),
        ("#!lua\n", "Library name was not given"),
        ("#!lua name=a-b\n", "Library names can only contain letters"),
        ("#!js name=a\n", "Engine 'js' not found"),
        ("#!lua name=a name=b\n", "name argument was given multiple times"),
        ("#!lua name=a x=y\n", "Invalid metadata value given: x=y"),
        ("#!lua name=a\n(", "Error compiling function: user_function:2: unexpected symbol near"),
        ("#!lua name=a\nredis.call('x')", "attempted to access nonexistent global variable 'call'"),
        ("#!lua name=a\nmath.random()", "attempted to access nonexistent global variable 'math'"),
        ("#!lua name=a\nx = 1", "Attempt to modify a readonly table"),
        ("#!lua name=a\nreturn 1", "No functions registered"),
        ("#!lua name=a\nredis.register_function('f')", "calling server.register_function with a single argument"),
        (
            "#!lua name=a\nredis.register_function('f', 1)",
            "second argument to server.register_function must be a function",
        ),
        (
            "#!lua name=a\nlocal f = function() end redis.register_function('f', f) redis.register_function('f', f)",
            "Function already exists in the library",
        ),
        ("#!lua name=a\nwhile true do end", "FUNCTION LOAD timeout"),
    ] {
        let got = load(code).unwrap_err();
        assert!(got.contains(why), "{code}: {got}");
    }
    let all = Libraries::default();
    all.add(lib, false).unwrap();
    assert!(all.function(b"F").is_some() && all.count() == (1, 2));
    let again = |name: &str| load(&format!("#!lua name={name}\nredis.register_function('f', function() end)")).unwrap();
    assert!(all.add(again("mine"), false).is_err() && all.add(again("other"), false).is_err());
    assert!(all.restore(vec![again("mine")], Policy::Append).is_err());
    all.restore(vec![again("mine")], Policy::Replace).unwrap();
    assert_eq!(all.count(), (1, 1));
    all.restore(vec![again("other")], Policy::Flush).unwrap();
    assert!(all.has(b"other") && !all.has(b"mine"));
}

#[test]
fn functions_get_keys_and_arguments_as_parameters() {
    let mut vm = Vm::new(Kind::Functions, 64 << 20).unwrap();
    let code = b"\nredis.register_function('f', function(keys, args) return {keys[1], args[2], type(redis.call), math.floor(1.5)} end)";
    let loaded = vm.load(super::library::Loading::new(code, true)).unwrap();
    let mut out = Out::default();
    let job = Job { function: loaded.functions[0].compiled, name: "f", keys: &[b"k"], args: &[b"a", b"b"] };
    assert!(vm.run(&job, &mut Echo::default(), &mut out).is_none());
    assert_eq!(out.take_bytes(), b"*4\r\n$1\r\nk\r\n$1\r\nb\r\n$8\r\nfunction\r\n:1\r\n");
}
