//! Drawn scripts with pieces of theirs cut, repeated and changed: whatever they are, they end in time and within their memory,
//! and leave the interpreter as it was.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/lua.rs"]
mod lua;
#[path = "../../tests/support/sandbox.rs"]
mod sandbox;

use std::cell::RefCell;

use dunlin::base::rng::Rng;
use dunlin::script::vm::{Kind, Vm};
use libfuzzer_sys::fuzz_target;

struct World {
    vm: Vm,
    looks: Vec<u8>,
    ran: u32,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new({
        let mut vm = Vm::new(Kind::Eval, sandbox::MEMORY).unwrap();
        let looks = sandbox::run(&mut vm, sandbox::WORLD);
        World { vm, looks, ran: 0 }
    });
}

/// An edit: where, from where or which byte, and how much.
type Edit = (u16, u16, u8);

fn edit(text: &mut Vec<u8>, &(at, from, many): &Edit) {
    let at = usize::from(at) % (text.len() + 1);
    let (kind, from, many) = (many % 4, usize::from(from), usize::from(many >> 2));
    match kind {
        0 => drop(text.drain(at..(at + many).min(text.len()))),
        1 if at < text.len() => text[at] = from as u8,
        2 => text.insert(at, from as u8),
        _ => {
            let from = from % (text.len() + 1);
            let piece = text[from..(from + many).min(text.len())].to_vec();
            text.splice(at..at, piece);
        }
    }
}

fuzz_target!(|input: (u64, Vec<Edit>)| {
    let mut text = lua::wild(&mut Rng::new(input.0)).into_bytes();
    input.1.iter().take(64).for_each(|e| edit(&mut text, e));
    let code = String::from_utf8_lossy(&text);
    WORLD.with_borrow_mut(|world| {
        sandbox::check(&mut world.vm, &code, "this script");
        world.ran += 1;
        if world.ran % 16 == 0 {
            assert!(sandbox::run(&mut world.vm, sandbox::WORLD) == world.looks, "the world is another\n{code}");
        }
    });
});
