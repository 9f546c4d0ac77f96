//! The `redis` crate's asynchronous cluster client at work: the counterpart of the scripts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use dunlin::base::slot::key_slot;
use redis::AsyncCommands;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

/// The variable that makes the test program the client: the port of a node.
pub const PORT: &str = "DUNLIN_CLIENT_OF";

const FIXED: usize = 300;
/// The slots that move in different ways: a shard channel is in each. Not those of the primary that dies: this client tries
/// SSUBSCRIBE there with each look at the slots, looks at them with each failure, and so comes to nothing else.
const RANGES: [(u16, u16); 4] = [(0, 499), (500, 5460), (5461, 10922), (10923, 12000)];
const TURN: Duration = Duration::from_millis(10);

#[derive(Default)]
struct State {
    done: [Cell<u64>; 6],
    /// Messages of each shard channel.
    heard: [Cell<u64>; RANGES.len()],
    written: RefCell<BTreeMap<String, String>>,
    held: Cell<bool>,
    holding: Cell<usize>,
    stopped: Cell<bool>,
}

impl State {
    fn count(&self, kind: usize) {
        self.done[kind].set(self.done[kind].get() + 1);
    }
    async fn may_write(&self) {
        if self.held.get() {
            self.holding.set(self.holding.get() + 1);
            while self.held.get() {
                sleep(TURN).await;
            }
        }
    }
}

/// Works until it is told to stop, and ends the process badly if a command fails.
pub fn work(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, run(port));
}

async fn connect(port: u16, push: Option<tokio::sync::mpsc::UnboundedSender<redis::PushInfo>>) -> ClusterConnection {
    let mut builder = ClusterClientBuilder::new([format!("redis://127.0.0.1:{port}/?protocol=resp3")])
        .retries(200)
        // Each wait at random from the least to the most; with a base above 1 the crate overflows at the 60th.
        .retry_wait_formula(200, 1)
        .min_retry_wait(20)
        .max_retry_wait(200)
        .connection_timeout(Duration::from_secs(2))
        .response_timeout(Duration::from_secs(5))
        // With all repetitions.
        .overall_response_timeout(Some(Duration::from_secs(10)));
    if let Some(push) = push {
        builder = builder.push_sender(push);
    }
    builder.build().unwrap().get_async_connection().await.unwrap()
}

/// A failure ends everything.
fn guarded(
    name: &'static str,
    work: impl Future<Output = redis::RedisResult<()>> + 'static,
) -> tokio::task::JoinHandle<()> {
    spawn_local(async move {
        if let Err(e) = work.await {
            println!("error {name}: {e}");
            std::process::exit(1);
        }
    })
}

async fn run(port: u16) {
    let state = Rc::new(State::default());
    let mut c = connect(port, None).await;
    for n in 0..FIXED {
        let _: () = c.set(format!("fixed:{n}"), n).await.unwrap();
    }
    let busy = [
        guarded("writer", writer(state.clone(), c.clone(), 0)),
        guarded("writer", writer(state.clone(), c.clone(), 1)),
        guarded("pipeliner", pipeliner(state.clone(), c.clone())),
    ];
    let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
    let mut subscriber = connect(port, Some(to)).await;
    subscriber.subscribe("news").await.unwrap();
    let listening = state.clone();
    spawn_local(async move {
        while let Some(push) = from.recv().await {
            if push.kind == redis::PushKind::Message {
                listening.count(4);
            }
        }
    });
    for number in 0..RANGES.len() {
        shard_listener(state.clone(), port, number).await;
    }
    let others = [
        guarded("reader", reader(state.clone(), c.clone())),
        guarded("scanner", scanner(state.clone(), c.clone())),
        guarded("speaker", speaker(state.clone(), c.clone())),
    ];
    let telling = state.clone();
    let number = busy.len();
    spawn_local(async move {
        loop {
            let counts: Vec<String> = telling.done.iter().map(|n| n.get().to_string()).collect();
            println!("progress {}", counts.join(" "));
            if telling.holding.get() == number {
                telling.holding.set(0);
                println!("held");
            }
            sleep(TURN * 10).await;
        }
    });
    let (to, mut orders) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    while let Some(order) = orders.recv().await {
        match &order[..] {
            "hold" => state.held.set(true),
            "go" => state.held.set(false),
            _ => break,
        }
    }
    state.stopped.set(true);
    for task in busy.into_iter().chain(others) {
        task.await.unwrap();
    }
    for (key, value) in state.written.take() {
        assert_eq!(c.get::<_, String>(&key).await.unwrap(), value, "{key}");
    }
    assert_eq!(scan(&c).await.unwrap(), (0..FIXED).map(|n| format!("fixed:{n}")).collect());
    println!("done");
    std::process::exit(0);
}

async fn writer(state: Rc<State>, mut c: ClusterConnection, number: usize) -> redis::RedisResult<()> {
    let mut n = 0;
    while !state.stopped.get() {
        state.may_write().await;
        n += 1;
        let key = format!("write:{number}:{}", n % 200);
        let _: () = c.set(&key, n).await?;
        state.written.borrow_mut().insert(key, n.to_string());
        state.count(0);
    }
    Ok(())
}

async fn pipeliner(state: Rc<State>, mut c: ClusterConnection) -> redis::RedisResult<()> {
    let mut n = 0;
    while !state.stopped.get() {
        state.may_write().await;
        n += 1;
        // A pipeline goes to one node. With keys of their own its commands could not go through a move: where one is told
        // ASK, this client repeats all of them at the other node, and says ASKING before the first. So that one is
        // executed there though its key is still here, and MIGRATE of the key then fails: "Target key name already exists".
        let key = format!("pipe:{}", n % 400);
        let mut pipe = redis::pipe();
        for _ in 0..20 {
            pipe.set(&key, n).ignore().get(&key);
        }
        let replies: Vec<String> = pipe.query_async(&mut c).await?;
        assert_eq!(replies, vec![n.to_string(); 20]);
        state.written.borrow_mut().insert(key, n.to_string());
        state.count(2);
    }
    Ok(())
}

async fn reader(state: Rc<State>, mut c: ClusterConnection) -> redis::RedisResult<()> {
    let mut n = 0;
    while !state.stopped.get() {
        n = (n + 7) % FIXED;
        assert_eq!(c.get::<_, Option<String>>(format!("fixed:{n}")).await?, Some(n.to_string()), "fixed:{n}");
        state.count(1);
    }
    Ok(())
}

/// SCAN on every primary: the client sends a command to a node that is named by a slot of it.
async fn scan(c: &ClusterConnection) -> redis::RedisResult<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut c = c.clone();
    let map: redis::Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut c).await?;
    let ranges: Vec<Vec<redis::Value>> = redis::from_redis_value(map)?;
    let mut ports = BTreeSet::new();
    for range in &ranges {
        let (_, port): (redis::Value, u16) = {
            let node: Vec<redis::Value> = redis::from_redis_value(range[2].clone())?;
            (node[0].clone(), redis::from_redis_value(node[1].clone())?)
        };
        ports.insert(port);
    }
    for port in ports {
        let route =
            redis::cluster_routing::RoutingInfo::SingleNode(redis::cluster_routing::SingleNodeRoutingInfo::ByAddress {
                host: "127.0.0.1".to_owned(),
                port,
            });
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg("fixed:*").arg("COUNT").arg(500);
            let value = c.route_command(scan, route.clone()).await?;
            let (next, keys): (u64, Vec<String>) = redis::from_redis_value(value)?;
            found.extend(keys);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(found)
}

async fn scanner(state: Rc<State>, c: ClusterConnection) -> redis::RedisResult<()> {
    while !state.stopped.get() {
        // A node that dies ends the scan of it.
        match scan(&c).await {
            Ok(_) => state.count(3),
            Err(e) if e.is_connection_dropped() || e.is_io_error() || e.is_cluster_error() => sleep(TURN * 10).await,
            Err(e) => return Err(e),
        }
        sleep(TURN).await;
    }
    Ok(())
}

/// A client for each shard channel: this one resubscribes to all that it has with one command, which goes through only if
/// they share a slot. It does so when it learns that slots have moved, from the commands that it sends to them; so the one
/// that listens also speaks. A node that says "sunsubscribe" by itself (a primary that became a replica does, and takes
/// SPUBLISH as before) it leaves to its user, and takes it for the reply to whatever it had asked: no reply is looked at here.
async fn shard_listener(state: Rc<State>, port: u16, number: usize) {
    let (low, high) = RANGES[number];
    let mut names = (0..).map(|n| format!("shard:{n}"));
    let channel = names.find(|name| (low..=high).contains(&key_slot(name.as_bytes()))).unwrap();
    let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
    let mut c = connect(port, Some(to)).await;
    c.ssubscribe(&channel).await.unwrap();
    let (speaking, again, mut speaker) = (state.clone(), channel.clone(), c.clone());
    guarded("shard speaker", async move {
        while !speaking.stopped.get() {
            let _: () = speaker.spublish(&channel, "x").await?;
            sleep(TURN).await;
        }
        Ok(())
    });
    guarded("shard listener", async move {
        while let Some(push) = from.recv().await {
            if push.kind == redis::PushKind::SUnsubscribe {
                c.ssubscribe(&again).await?;
            }
            if push.kind == redis::PushKind::SMessage {
                state.heard[number].set(state.heard[number].get() + 1);
                state.done[5].set(state.heard.iter().map(Cell::get).min().unwrap_or_default());
            }
        }
        Ok(())
    });
}

async fn speaker(state: Rc<State>, mut c: ClusterConnection) -> redis::RedisResult<()> {
    while !state.stopped.get() {
        let _: () = c.publish("news", "x").await?;
        sleep(TURN).await;
    }
    Ok(())
}
