//! Lua 5.1 from Rust: a state with an allocator that counts, and its stack.
//!
//! The rest of `script` works with [`Stack`] and needs no `unsafe`. Three rules make that sound:
//!
//! 1. Lua raises errors with `longjmp`, which must not leave a Rust frame that has something to drop. So functions that Lua
//!    calls are plain Rust functions that return [`Raise`] once the error value is on the stack; only [`enter`], whose
//!    frame has nothing to drop by then, raises it.
//! 2. While such a function runs ([`Memory::host`]) the allocator does not refuse memory, so that no function of the
//!    interface raises by itself. The limit holds for Lua's own code, and is looked at again with the next allocation.
//! 3. Lua code that a function calls runs protected ([`Stack::call`]); its error comes back as a value.
//!
//! Indices are those of the Lua manual. A wrong one is a mistake of this crate, not of a script: no index comes from one.
//!
//! (The safe layer of mlua was the first idea. It makes a protected call for every value that is pushed, which doubles the
//! price of a script of one GET; of mlua it is the lower half, mlua-sys, that builds Lua and declares its functions.)

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};

use mlua_sys as ffi;

pub use ffi::lua_State as State;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    None,
    Nil,
    Boolean,
    Light,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Type {
    /// The name that Lua's error texts give it.
    pub fn name(self) -> &'static str {
        match self {
            Type::None => "no value",
            Type::Nil => "nil",
            Type::Boolean => "boolean",
            Type::Light | Type::Userdata => "userdata",
            Type::Number => "number",
            Type::String => "string",
            Type::Table => "table",
            Type::Function => "function",
            Type::Thread => "thread",
        }
    }
}

/// The error value is on top of the stack.
#[derive(Debug)]
#[must_use]
pub struct Raise;

/// What a function that Lua calls returns: how many results are on top of the stack.
pub type Returns = Result<c_int, Raise>;

/// A function that Lua can call.
pub type Function = fn(Stack) -> Returns;

/// What the allocator knows, and what belongs to the state as a whole.
pub struct Memory {
    used: Cell<usize>,
    limit: Cell<usize>,
    /// How deep we are in functions of ours.
    host: Cell<u32>,
    /// What the embedder keeps with the state: see [`Stack::context`].
    context: Cell<*const c_void>,
    /// Called every so many instructions.
    hook: Cell<Option<Function>>,
    /// It was called for the number of instructions, not for a line.
    counts: Cell<bool>,
    /// The main thread.
    main: Cell<*mut State>,
}

/// A Lua state, with everything in it.
pub struct Lua {
    state: *mut State,
    memory: Box<Memory>,
}

impl Drop for Lua {
    fn drop(&mut self) {
        // SAFETY: the state is ours, nothing of it is on any stack now, and it is closed once.
        unsafe {
            // Finalizers find a state that is still whole.
            ffi::lua_gc(self.state, ffi::LUA_GCCOLLECT, 0);
            ffi::lua_close(self.state);
        }
    }
}

unsafe extern "C" fn allocate(ud: *mut c_void, ptr: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: `ud` is the Memory that the state was made with and that outlives it; a block comes back with the size it was
    // asked for, as Lua guarantees, so the layouts agree.
    unsafe {
        let memory = &*ud.cast::<Memory>();
        let old = if ptr.is_null() { 0 } else { old };
        if new == 0 {
            if old > 0 {
                dealloc(ptr.cast(), Layout::from_size_align_unchecked(old, 8));
            }
            memory.used.set(memory.used.get() - old);
            return std::ptr::null_mut();
        }
        let used = memory.used.get() - old + new;
        let refused = new > old && used > memory.limit.get() && memory.host.get() == 0;
        if refused || new > isize::MAX as usize - 8 {
            return std::ptr::null_mut();
        }
        let block = if old == 0 {
            alloc(Layout::from_size_align_unchecked(new, 8))
        } else {
            realloc(ptr.cast(), Layout::from_size_align_unchecked(old, 8), new)
        };
        if !block.is_null() {
            memory.used.set(used);
        }
        block.cast()
    }
}

fn memory_of(state: *mut State) -> *const Memory {
    let mut ud = std::ptr::null_mut();
    // SAFETY: the state is one of ours.
    unsafe { ffi::lua_getallocf(state, &mut ud) };
    ud.cast()
}

/// The one C function that Lua calls: it finds the Rust function in its upvalue.
unsafe extern "C-unwind" fn enter(state: *mut State) -> c_int {
    // SAFETY: rules 1 and 2. The upvalue is what `push_function` made of a `Function`.
    unsafe {
        let memory = &*memory_of(state);
        let f = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1));
        let f: Function = std::mem::transmute::<*mut c_void, Function>(f);
        memory.host.set(memory.host.get() + 1);
        let result = f(Stack(state));
        memory.host.set(memory.host.get() - 1);
        match result {
            Ok(n) => n,
            Err(Raise) => ffi::lua_error(state),
        }
    }
}

/// As [`enter`], for the hook.
unsafe extern "C-unwind" fn hooked(state: *mut State, event: *mut ffi::lua_Debug) {
    // SAFETY: rules 1 and 2; Lua passes what it calls the hook for.
    unsafe {
        let memory = &*memory_of(state);
        memory.counts.set((*event).event == ffi::LUA_HOOKCOUNT);
        let Some(f) = memory.hook.get() else { return };
        if ffi::lua_checkstack(state, ffi::LUA_MINSTACK) == 0 {
            return;
        }
        memory.host.set(memory.host.get() + 1);
        let result = f(Stack(state));
        memory.host.set(memory.host.get() - 1);
        if result.is_err() {
            ffi::lua_error(state);
        }
    }
}

impl Lua {
    /// A new state without any library. `None` if there is no memory for it.
    pub fn new() -> Option<Lua> {
        let memory = Box::new(Memory {
            used: Cell::new(0),
            limit: Cell::new(usize::MAX),
            host: Cell::new(0),
            context: Cell::new(std::ptr::null()),
            hook: Cell::new(None),
            counts: Cell::new(false),
            main: Cell::new(std::ptr::null_mut()),
        });
        // SAFETY: the memory lives in a box of its own that goes after the state.
        let state = unsafe { ffi::lua_newstate(allocate, (&raw const *memory).cast_mut().cast()) };
        memory.main.set(state);
        (!state.is_null()).then_some(Lua { state, memory })
    }
    /// The stack of its main thread.
    pub fn stack(&self) -> Stack {
        Stack(self.state)
    }
    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.memory.used.get()
    }
    /// Lua code finds no more memory once so many bytes are in use.
    pub fn set_limit(&self, bytes: usize) {
        self.memory.limit.set(bytes);
    }
    /// What [`Stack::context`] gives until it is set anew. It must stay where it is until then.
    pub fn set_context<T>(&self, context: Option<&T>) {
        self.memory.context.set(context.map_or(std::ptr::null(), |c| (&raw const *c).cast()));
    }
    /// Runs `f` as a function of ours: rule 2 holds in it.
    pub fn as_host<R>(&self, f: impl FnOnce(Stack) -> R) -> R {
        let host = &self.memory.host;
        host.set(host.get() + 1);
        let result = f(self.stack());
        host.set(host.get() - 1);
        result
    }
    /// Opens Lua's own base, string, table, math and os libraries.
    pub fn open_libraries(&self) {
        let libraries: [(ffi::lua_CFunction, &CStr); 5] = [
            (ffi::luaopen_base, c""),
            (ffi::luaopen_table, c"table"),
            (ffi::luaopen_string, c"string"),
            (ffi::luaopen_math, c"math"),
            (ffi::luaopen_os, c"os"),
        ];
        self.as_host(|s| {
            for (open, name) in libraries {
                // SAFETY: they take their name, and raise nothing but for want of memory (rule 2).
                unsafe {
                    ffi::lua_pushcclosure(s.0, open, 0);
                    ffi::lua_pushstring(s.0, name.as_ptr());
                    ffi::lua_call(s.0, 1, 0);
                }
            }
        });
    }
    /// A step of the garbage collector.
    pub fn collect_step(&self, size: c_int) {
        // SAFETY: no finalizer of Lua code exists: only userdata have them, and scripts can not make any with a metatable.
        self.as_host(|s| unsafe { ffi::lua_gc(s.0, ffi::LUA_GCSTEP, size) });
    }
    /// A whole cycle of the garbage collector.
    pub fn collect(&self) {
        // SAFETY: as above.
        self.as_host(|s| unsafe { ffi::lua_gc(s.0, ffi::LUA_GCCOLLECT, 0) });
    }
}

/// A function that runs.
pub struct Frame {
    /// The name of the text it is in, shortened.
    pub source: Vec<u8>,
    /// The line that runs.
    pub line: c_int,
    /// By which name it was called, if that is known.
    pub name: Option<Vec<u8>>,
}

impl Frame {
    /// Whether this is in the name of its text.
    pub fn is_of(&self, name: &str) -> bool {
        memchr::memmem::find(&self.source, name.as_bytes()).is_some()
    }
}

/// The stack of a Lua thread, as the function that runs on it sees it.
#[derive(Clone, Copy)]
pub struct Stack(*mut State);

/// The table of globals of the running thread.
pub const GLOBALS: c_int = ffi::LUA_GLOBALSINDEX;
/// The registry.
pub const REGISTRY: c_int = ffi::LUA_REGISTRYINDEX;

// SAFETY for all of it: rules 1 to 3 above.
#[allow(missing_docs, reason = "they are named as in the Lua manual")]
impl Stack {
    pub fn top(self) -> c_int {
        unsafe { ffi::lua_gettop(self.0) }
    }
    pub fn set_top(self, n: c_int) {
        unsafe { ffi::lua_settop(self.0, n) }
    }
    pub fn pop(self, n: c_int) {
        unsafe { ffi::lua_settop(self.0, -n - 1) }
    }
    pub fn push_value(self, at: c_int) {
        unsafe { ffi::lua_pushvalue(self.0, at) }
    }
    pub fn insert(self, at: c_int) {
        unsafe { ffi::lua_insert(self.0, at) }
    }
    pub fn remove(self, at: c_int) {
        unsafe { ffi::lua_remove(self.0, at) }
    }
    pub fn replace(self, at: c_int) {
        unsafe { ffi::lua_replace(self.0, at) }
    }
    /// Sees to it that `n` more values have room. False if the stack would grow too big.
    pub fn reserve(self, n: c_int) -> bool {
        unsafe { ffi::lua_checkstack(self.0, n) != 0 }
    }
    pub fn type_of(self, at: c_int) -> Type {
        match unsafe { ffi::lua_type(self.0, at) } {
            ffi::LUA_TNIL => Type::Nil,
            ffi::LUA_TBOOLEAN => Type::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Type::Light,
            ffi::LUA_TNUMBER => Type::Number,
            ffi::LUA_TSTRING => Type::String,
            ffi::LUA_TTABLE => Type::Table,
            ffi::LUA_TFUNCTION => Type::Function,
            ffi::LUA_TUSERDATA => Type::Userdata,
            ffi::LUA_TTHREAD => Type::Thread,
            _ => Type::None,
        }
    }
    pub fn is(self, at: c_int, t: Type) -> bool {
        self.type_of(at) == t
    }
    pub fn is_absent(self, at: c_int) -> bool {
        matches!(self.type_of(at), Type::None | Type::Nil)
    }
    /// Whether it is a string or a number.
    pub fn is_string(self, at: c_int) -> bool {
        unsafe { ffi::lua_isstring(self.0, at) != 0 }
    }
    /// Whether it is a number, or a string that reads as one.
    pub fn is_number(self, at: c_int) -> bool {
        unsafe { ffi::lua_isnumber(self.0, at) != 0 }
    }
    pub fn is_c_function(self, at: c_int) -> bool {
        unsafe { ffi::lua_iscfunction(self.0, at) != 0 }
    }
    /// The bytes of a string; a number becomes one, in its place. Valid while the value is on the stack, which the caller
    /// sees to.
    pub fn bytes<'a>(self, at: c_int) -> Option<&'a [u8]> {
        let mut len = 0;
        unsafe {
            let s = ffi::lua_tolstring(self.0, at, &mut len);
            (!s.is_null()).then(|| std::slice::from_raw_parts(s.cast(), len))
        }
    }
    /// As a number, converted from a string if need be; 0 if it is none.
    pub fn number(self, at: c_int) -> f64 {
        unsafe { ffi::lua_tonumber(self.0, at) }
    }
    pub fn boolean(self, at: c_int) -> bool {
        unsafe { ffi::lua_toboolean(self.0, at) != 0 }
    }
    pub fn light(self, at: c_int) -> *const c_void {
        unsafe { ffi::lua_touserdata(self.0, at) }
    }
    /// Where a table, function or thread is, for comparison.
    pub fn address(self, at: c_int) -> *const c_void {
        unsafe { ffi::lua_topointer(self.0, at) }
    }
    /// The length of a string, or the border of a table without metamethods.
    pub fn len(self, at: c_int) -> usize {
        unsafe { ffi::lua_objlen(self.0, at) }
    }
    pub fn raw_equal(self, a: c_int, b: c_int) -> bool {
        unsafe { ffi::lua_rawequal(self.0, a, b) != 0 }
    }

    pub fn push_nil(self) {
        unsafe { ffi::lua_pushnil(self.0) }
    }
    pub fn push_number(self, n: f64) {
        unsafe { ffi::lua_pushnumber(self.0, n) }
    }
    pub fn push_boolean(self, b: bool) {
        unsafe { ffi::lua_pushboolean(self.0, c_int::from(b)) }
    }
    pub fn push_bytes(self, s: &[u8]) {
        unsafe { ffi::lua_pushlstring_(self.0, s.as_ptr().cast::<c_char>(), s.len()) }
    }
    pub fn push_light(self, p: *const c_void) {
        unsafe { ffi::lua_pushlightuserdata(self.0, p.cast_mut()) }
    }
    pub fn push_function(self, f: Function) {
        self.push_light(f as *const c_void);
        unsafe { ffi::lua_pushcclosure(self.0, enter, 1) }
    }
    /// A function with `n` values of the stack as its own; see [`Stack::own`].
    pub fn push_closure(self, f: Function, n: c_int) {
        self.push_light(f as *const c_void);
        self.insert(-n - 1);
        unsafe { ffi::lua_pushcclosure(self.0, enter, n + 1) }
    }
    /// The index of the running function's own value number `i`, from 1.
    pub fn own(self, i: c_int) -> c_int {
        ffi::lua_upvalueindex(i + 1)
    }
    pub fn new_table(self, array: usize, hash: usize) {
        let clamp = |n: usize| c_int::try_from(n.min(1 << 20)).unwrap_or(0);
        unsafe { ffi::lua_createtable(self.0, clamp(array), clamp(hash)) }
    }
    /// Makes a thread, and gives its stack.
    pub fn new_thread(self) -> Stack {
        Stack(unsafe { ffi::lua_newthread(self.0) })
    }

    pub fn raw_get(self, table: c_int) {
        unsafe { ffi::lua_rawget_(self.0, table) }
    }
    pub fn raw_get_at(self, table: c_int, i: c_int) {
        unsafe { ffi::lua_rawgeti_(self.0, table, i) }
    }
    pub fn raw_set(self, table: c_int) {
        unsafe { ffi::lua_rawset(self.0, table) }
    }
    pub fn raw_set_at(self, table: c_int, i: c_int) {
        unsafe { ffi::lua_rawseti_(self.0, table, i) }
    }
    /// Pushes a field, without metamethods.
    pub fn raw_field(self, table: c_int, name: &[u8]) {
        let table = self.absolute(table);
        self.push_bytes(name);
        self.raw_get(table);
    }
    /// Sets a field to the value on top, which goes, without metamethods.
    pub fn set_raw_field(self, table: c_int, name: &[u8]) {
        let table = self.absolute(table);
        self.push_bytes(name);
        self.insert(-2);
        self.raw_set(table);
    }
    fn absolute(self, at: c_int) -> c_int {
        if at < 0 && at > ffi::LUA_REGISTRYINDEX { self.top() + at + 1 } else { at }
    }
    /// The next pair of a table after the key on top, which goes. The key is one that this gave, or nil.
    pub fn next(self, table: c_int) -> bool {
        unsafe { ffi::lua_next(self.0, table) != 0 }
    }
    pub fn push_metatable(self, at: c_int) -> bool {
        unsafe { ffi::lua_getmetatable(self.0, at) != 0 }
    }
    pub fn set_metatable(self, at: c_int) {
        unsafe { ffi::lua_setmetatable(self.0, at) };
    }
    pub fn push_environment(self, at: c_int) {
        unsafe { ffi::lua_getfenv(self.0, at) }
    }
    /// False if the value can have none.
    pub fn set_environment(self, at: c_int) -> bool {
        unsafe { ffi::lua_setfenv(self.0, at) != 0 }
    }
    /// Keeps the value on top, which goes, under a number in the registry.
    pub fn keep(self) -> c_int {
        unsafe { ffi::luaL_ref(self.0, ffi::LUA_REGISTRYINDEX) }
    }
    pub fn push_kept(self, number: c_int) {
        unsafe { ffi::lua_rawgeti_(self.0, ffi::LUA_REGISTRYINDEX, number) }
    }
    pub fn forget(self, number: c_int) {
        unsafe { ffi::luaL_unref(self.0, ffi::LUA_REGISTRYINDEX, number) }
    }

    /// Compiles a text and pushes the function; else the message is pushed.
    pub fn load(self, text: &[u8], name: &CStr) -> Result<(), Raise> {
        let memory = memory_of(self.0);
        // Strings are one object each: on the stack, the name is held for the compiler, which does not hold it itself
        // (CVE-2025-49844).
        self.push_bytes(name.to_bytes());
        let held = self.top();
        let status = unsafe {
            // The compiler is Lua's code: the limit holds, its errors are caught.
            let host = (*memory).host.replace(0);
            let status = ffi::luaL_loadbuffer(self.0, text.as_ptr().cast(), text.len(), name.as_ptr());
            (*memory).host.set(host);
            status
        };
        self.remove(held);
        if status == 0 { Ok(()) } else { Err(Raise) }
    }
    /// Calls the function below its `args` arguments, protected. On an error the error value is pushed in place of results,
    /// after `handler` (0: none) has seen it.
    pub fn call(self, args: c_int, results: c_int, handler: c_int) -> Result<(), Raise> {
        let memory = memory_of(self.0);
        let status = unsafe {
            let host = (*memory).host.replace(0);
            let status = ffi::lua_pcall(self.0, args, results, handler);
            (*memory).host.set(host);
            status
        };
        if status == 0 { Ok(()) } else { Err(Raise) }
    }
    /// Has `f` called every `count` instructions (0: not), and at every new line if `lines`: of this thread, of the main
    /// thread, and of those that either makes from now on.
    pub fn set_hook(self, f: Option<Function>, count: c_int, lines: bool) {
        let memory = memory_of(self.0);
        unsafe { (*memory).hook.set(f) };
        let mask = if lines { ffi::LUA_MASKLINE } else { 0 } | if count > 0 { ffi::LUA_MASKCOUNT } else { 0 };
        for state in [self.0, unsafe { (*memory).main.get() }] {
            match f {
                Some(_) => unsafe { ffi::lua_sethook(state, Some(hooked), mask, count) },
                None => unsafe { ffi::lua_sethook(state, None, 0, 0) },
            };
        }
    }
    /// Whether the hook that runs was called for the number of instructions, not for a line.
    pub fn hook_counts(self) -> bool {
        unsafe { (*memory_of(self.0)).counts.get() }
    }
    /// What [`Lua::set_context`] was given last.
    ///
    /// # Safety
    /// It was given as a `T`, and is still there.
    pub unsafe fn context<'a, T>(self) -> Option<&'a T> {
        // SAFETY: the caller's.
        unsafe { (*memory_of(self.0)).context.get().cast::<T>().as_ref() }
    }
    /// Bytes that the state has in use.
    pub fn memory_used(self) -> usize {
        unsafe { (*memory_of(self.0)).used.get() }
    }
    pub fn collect_garbage(self, what: c_int, data: c_int) -> c_int {
        unsafe { ffi::lua_gc(self.0, what, data) }
    }

    /// Where the function at `level` is: whether it is not Lua code, its source, and the line. 0: the running function.
    pub fn location(self, level: c_int) -> Option<(bool, Vec<u8>, c_int)> {
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, level, &mut ar) == 0 {
                return None;
            }
            ffi::lua_getinfo(self.0, c"nSl".as_ptr(), &mut ar);
            let what = CStr::from_ptr(ar.what) == c"C";
            Some((what, CStr::from_ptr(ar.source).to_bytes().to_vec(), ar.currentline))
        }
    }
    /// What runs at `level`; `None`: nothing is so deep.
    pub fn frame(self, level: c_int) -> Option<Frame> {
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, level, &mut ar) == 0 {
                return None;
            }
            ffi::lua_getinfo(self.0, c"nSl".as_ptr(), &mut ar);
            let name = (!ar.name.is_null()).then(|| CStr::from_ptr(ar.name).to_bytes().to_vec());
            let source = CStr::from_ptr(ar.short_src.as_ptr()).to_bytes().to_vec();
            Some(Frame { source, line: ar.currentline, name })
        }
    }
    /// Pushes the `n`th local variable, from 1, of the function at `level`. Returns its name; `None`, and nothing is pushed: it
    /// has not so many.
    pub fn push_local(self, level: c_int, n: c_int) -> Option<Vec<u8>> {
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, level, &mut ar) == 0 {
                return None;
            }
            let name = ffi::lua_getlocal(self.0, &ar, n);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes().to_vec())
        }
    }
    /// Pushes the place of the function at `level`, as messages begin with: `user_script:1: `, or nothing.
    pub fn push_where(self, level: c_int) {
        unsafe { ffi::luaL_where(self.0, level) }
    }
    /// The name by which the running function was called, and whether as a method.
    fn called_as(self) -> (Vec<u8>, bool) {
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, 0, &mut ar) == 0 {
                return (b"?".to_vec(), false);
            }
            ffi::lua_getinfo(self.0, c"n".as_ptr(), &mut ar);
            let name = if ar.name.is_null() { b"?".to_vec() } else { CStr::from_ptr(ar.name).to_bytes().to_vec() };
            (name, !ar.namewhat.is_null() && CStr::from_ptr(ar.namewhat) == c"method")
        }
    }
}

/// Errors and checked arguments, with the texts of Lua's own library.
impl Stack {
    /// An error whose value is the text, with the place of the caller before it.
    pub fn error(self, text: impl AsRef<[u8]>) -> Raise {
        self.push_where(1);
        let mut whole = self.bytes(-1).unwrap_or_default().to_vec();
        self.pop(1);
        whole.extend_from_slice(text.as_ref());
        self.push_bytes(&whole);
        Raise
    }
    /// An error about an argument.
    pub fn bad_argument(self, mut n: c_int, text: &str) -> Raise {
        let (name, method) = self.called_as();
        let name = String::from_utf8_lossy(&name).into_owned();
        if method {
            n -= 1;
            if n == 0 {
                return self.error(format!("calling '{name}' on bad self ({text})"));
            }
        }
        self.error(format!("bad argument #{n} to '{name}' ({text})"))
    }
    /// An error about the type of an argument.
    pub fn bad_type(self, n: c_int, wanted: &str) -> Raise {
        let is = self.type_of(n).name();
        self.bad_argument(n, &format!("{wanted} expected, got {is}"))
    }
    /// The argument as a string.
    pub fn check_bytes<'a>(self, n: c_int) -> Result<&'a [u8], Raise> {
        self.bytes(n).ok_or_else(|| self.bad_type(n, "string"))
    }
    /// The argument as a number.
    pub fn check_number(self, n: c_int) -> Result<f64, Raise> {
        if self.is_number(n) { Ok(self.number(n)) } else { Err(self.bad_type(n, "number")) }
    }
    /// The argument as a number without its fraction.
    pub fn check_integer(self, n: c_int) -> Result<i64, Raise> {
        self.check_number(n).map(|d| d as i64)
    }
    /// The argument as an integer, or `default` if it is not there.
    pub fn opt_integer(self, n: c_int, default: i64) -> Result<i64, Raise> {
        if self.is_absent(n) { Ok(default) } else { self.check_integer(n) }
    }
    /// The argument is a table.
    pub fn check_table(self, n: c_int) -> Result<(), Raise> {
        if self.is(n, Type::Table) { Ok(()) } else { Err(self.bad_type(n, "table")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(s: Stack) -> Returns {
        let text = vec![b'x'; s.check_integer(1)? as usize];
        Err(s.error(text))
    }

    #[test]
    fn a_function_of_ours_raises_after_its_values_are_dropped() {
        let lua = Lua::new().unwrap();
        lua.as_host(|s| {
            s.push_function(fails);
            s.push_number(3.0);
            assert!(s.call(1, 0, 0).is_err());
            assert_eq!(s.bytes(-1), Some(&b"xxx"[..]));
            s.pop(1);
            s.push_function(fails);
            assert!(s.call(0, 0, 0).is_err());
            assert_eq!(s.bytes(-1), Some(&b"bad argument #1 to '?' (number expected, got no value)"[..]));
        });
    }

    #[test]
    fn lua_code_meets_the_memory_limit_and_the_state_goes_on() {
        let lua = Lua::new().unwrap();
        lua.open_libraries();
        lua.set_limit(lua.used() + (1 << 20));
        lua.as_host(|s| {
            s.load(b"local t = {} for i = 1, 1e9 do t[i] = string.rep('x', i) end", c"@t").unwrap();
            assert!(s.call(0, 0, 0).is_err());
            assert_eq!(s.bytes(-1), Some(&b"not enough memory"[..]));
            s.pop(1);
            s.load(b"return #string.rep('x', 1000)", c"@t").unwrap();
            s.call(0, 1, 0).unwrap();
            assert_eq!(s.number(-1), 1000.0);
        });
    }
}
