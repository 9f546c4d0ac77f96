//! `oom-score-adj`: which process the kernel kills first when memory runs out, by the role of the server
//! (<https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html>).

use parking_lot::Mutex;

use crate::commands::Server;
use crate::config::enums;

const PATH: &str = "/proc/self/oom_score_adj";
/// What the kernel takes.
const LIMIT: i64 = 1000;

/// The score that the process had before it was changed here; none: it is not changed.
#[derive(Debug, Default)]
pub struct OomScore(Mutex<Option<i64>>);

/// Makes the score of this process what the options and the role ask for.
pub fn apply(server: &Server) -> Result<(), String> {
    let mut base = server.oom_score.0.lock();
    let mode = server.config.oom_score_adj();
    let score = if mode == enums::OOM_NO {
        // What others did to a score that was never ours stays.
        let Some(before) = base.take() else { return Ok(()) };
        before
    } else {
        let before = match *base {
            Some(before) => before,
            None => read().map_err(|e| failed(&e))?,
        };
        *base = Some(before);
        let text = String::from_utf8_lossy(&server.config.text_of("oom-score-adj-values")).into_owned();
        let place = usize::from(server.repl.link.is_replica());
        let own = text.split(' ').nth(place).and_then(|n| n.parse().ok()).unwrap_or(0);
        if mode == enums::OOM_ABSOLUTE { own } else { before + own }
    };
    std::fs::write(PATH, score.clamp(-LIMIT, LIMIT).to_string()).map_err(|e| failed(&e))
}

fn read() -> std::io::Result<i64> {
    std::fs::read_to_string(PATH)?.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData.into())
}

fn failed(e: &std::io::Error) -> String {
    tracing::warn!("Unable to write oom_score_adj: {e}");
    "Failed to apply new oom_score_adj configuration, check server logs.".to_owned()
}
