//! Random scripts in an interpreter: whatever they do, it ends, within its memory, and the next one finds everything as it was.
//!
//! `DUNLIN_SEED=<seed>` runs one script; `DUNLIN_SOAK_SECONDS=<n>` goes on for that long.

#[allow(dead_code, reason = "the differential test uses the rest")]
#[path = "support/lua.rs"]
mod lua;
#[path = "support/sandbox.rs"]
mod sandbox;

use dunlin::base::{clock, rng};
use dunlin::script::vm::{Kind, Vm};

#[test]
fn random_scripts_end_within_their_memory_and_leave_nothing_behind() {
    let one = std::env::var("DUNLIN_SEED").ok().and_then(|s| s.parse().ok());
    let soak = std::env::var("DUNLIN_SOAK_SECONDS").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(3);
    let until = clock::mono_ns() + soak * 1_000_000_000;
    let mut vm = Vm::new(Kind::Eval, sandbox::MEMORY).unwrap();
    let world = sandbox::run(&mut vm, sandbox::WORLD);
    assert!(world.starts_with(b"$"), "{}", String::from_utf8_lossy(&world));
    let mut ran = 0;
    while ran == 0 || one.is_none() && clock::mono_ns() < until {
        let seed = one.unwrap_or_else(rng::seed_from_os);
        let code = lua::wild(&mut rng::Rng::new(seed));
        let what = format!("DUNLIN_SEED={seed}");
        sandbox::check(&mut vm, &code, &what);
        if ran % 16 == 0 || one.is_some() {
            assert!(sandbox::run(&mut vm, sandbox::WORLD) == world, "the world is another: {what}\n{code}");
        }
        ran += 1;
    }
    eprintln!("{ran} scripts");
}
