//! INFO persistence.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::clock;
use crate::commands::Server;
use crate::commands::gate::bits;
use crate::commands::text::Text;

/// Writes the section.
pub fn write(server: &'static Server, text: &mut Text) {
    let now = clock::now_ms();
    let (loading, s) = (&server.loading, &server.snapshots);
    let is_loading = loading.on.load(Relaxed) || server.gate.has(bits::LOADING);
    let aside = loading.aside.load(Relaxed);
    let job = s.job();
    text.section("Persistence");
    text.field("loading", u8::from(is_loading));
    text.field("async_loading", u8::from(aside));
    // Nothing is copied on write: what stands for it is what writers have saved for the snapshot.
    let waiting = job.as_ref().map_or(0, |j| j.progress.waiting.load(Relaxed));
    text.field("current_cow_peak", waiting);
    text.field("current_cow_size", waiting);
    text.field("current_cow_size_age", 0);
    let (done, total) =
        job.as_ref().map_or((0, 0), |j| (j.progress.done.load(Relaxed), j.progress.total.load(Relaxed)));
    text.ratio("current_fork_perc", if total > 0 { done as f64 / total as f64 * 100.0 } else { 0.0 });
    text.field("current_save_keys_processed", done);
    text.field("current_save_keys_total", total);
    text.field("rdb_changes_since_last_save", server.dirty().wrapping_sub(s.saved_changes.load(Relaxed)));
    text.field("rdb_bgsave_in_progress", u8::from(job.as_ref().is_some_and(|j| !j.foreground)));
    text.field("rdb_last_save_time", s.last_save.load(Relaxed));
    text.field("rdb_last_bgsave_status", if s.last_ok.load(Relaxed) { "ok" } else { "err" });
    text.field("rdb_last_bgsave_time_sec", s.last_seconds.load(Relaxed));
    text.field("rdb_current_bgsave_time_sec", job.map_or(-1, |j| (now - j.started) / 1000));
    text.field("rdb_saves", s.saves.load(Relaxed));
    text.field("rdb_last_cow_size", 0);
    text.field("rdb_last_load_keys_expired", loading.last_expired.load(Relaxed));
    text.field("rdb_last_load_keys_loaded", loading.last_keys.load(Relaxed));
    let aof = &server.aof;
    let (rewrite, writer) = (aof.rewrite(), aof.writer());
    text.field("aof_enabled", u8::from(server.config.appendonly()));
    text.field("aof_rewrite_in_progress", u8::from(rewrite.is_some()));
    text.field("aof_rewrite_scheduled", u8::from(aof.scheduled.load(Relaxed)));
    text.field("aof_last_rewrite_time_sec", aof.last_seconds.load(Relaxed) - 1);
    text.field("aof_current_rewrite_time_sec", rewrite.map_or(-1, |r| (now - r.started) / 1000));
    text.field("aof_last_bgrewrite_status", if aof.failed.load(Relaxed) { "err" } else { "ok" });
    text.field("aof_rewrites", aof.rewrites.load(Relaxed));
    text.field("aof_rewrites_consecutive_failures", aof.failures.load(Relaxed));
    let failing = writer.as_ref().is_some_and(|w| w.is_failing());
    text.field("aof_last_write_status", if failing { "err" } else { "ok" });
    text.zeros(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if let Some(w) = writer {
        text.field("aof_current_size", w.size());
        text.field("aof_base_size", aof.base_size.load(Relaxed));
        text.field("aof_pending_rewrite", 0);
        text.field("aof_buffer_length", w.pending());
        text.field("aof_pending_bio_fsync", 0);
        text.field("aof_delayed_fsync", w.delayed.load(Relaxed));
    }
    if is_loading || aside {
        let (total, done) = (loading.total.load(Relaxed), loading.done.load(Relaxed));
        let started = loading.started.load(Relaxed);
        let elapsed = now / 1000 - started;
        text.field("loading_start_time", started);
        text.field("loading_total_bytes", total);
        text.field("loading_rdb_used_mem", loading.memory.load(Relaxed));
        text.field("loading_loaded_bytes", done);
        text.ratio("loading_loaded_perc", if total > 0 { done as f64 / total as f64 * 100.0 } else { 0.0 });
        let left = total.saturating_sub(done);
        let eta = (elapsed.max(0) as u64 * left).checked_div(done).unwrap_or(1);
        text.field("loading_eta_seconds", eta);
    }
}
