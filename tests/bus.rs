//! Whatever comes over the cluster bus, a node does not panic, loop or forget who it is.

#[path = "support/bus.rs"]
mod bus;

use dunlin::base::rng::Rng;

/// `DUNLIN_ROUNDS=100000 cargo test --release --test bus` goes on for longer.
#[test]
fn any_packets_leave_a_node_in_its_right_mind() {
    let rounds = std::env::var("DUNLIN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let first: u64 = std::env::var("DUNLIN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    // 1140: gossip of a packet named its own sender, who then stood twice in nodes.conf.
    for seed in (first..first + rounds).chain([1140]) {
        let mut rng = Rng::new(seed);
        let len = rng.below(6000) as usize;
        let input: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
        if let Err(panic) = std::panic::catch_unwind(|| bus::run(&input)) {
            println!("DUNLIN_SEED={seed} DUNLIN_ROUNDS=1 runs this alone");
            std::panic::resume_unwind(panic);
        }
    }
}
