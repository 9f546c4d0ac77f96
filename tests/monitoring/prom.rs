//! A Prometheus of the test's own, and as much of its HTTP API as is asked here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{PATIENCE, TempDir, free_port};

/// A running Prometheus; it ends with the value.
pub struct Prometheus {
    child: Child,
    pub port: u16,
    _dir: TempDir,
}

/// Whether a program is there; if not, the test says that it skips.
pub fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("SKIPPED: {program} is not installed (apt-get install prometheus prometheus-redis-exporter)");
    }
    found
}

/// The body of a page.
pub fn fetch(port: u16, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(body.to_owned()) } else { Err(format!("{status}: {body}")) }
}

/// A value in a URL.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|c| if c.is_ascii_alphanumeric() { char::from(c).to_string() } else { format!("%{c:02X}") })
        .collect()
}

impl Prometheus {
    /// Scrapes `targets` every second under the job `dunlin` and the cluster `test`, with the rules of the repository.
    pub fn start(targets: &[u16]) -> Prometheus {
        let dir = TempDir::new();
        let root = env!("CARGO_MANIFEST_DIR");
        let targets: Vec<String> = targets.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        let config = dir.file(
            "prometheus.yml",
            &format!(
                "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - \
                 '{root}/grafana/prometheus/rules/*.yml'\nscrape_configs:\n  - job_name: dunlin\n    \
                 static_configs:\n      - targets: [{}]\n        labels:\n          cluster: test\n",
                targets.join(", ")
            ),
        );
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={config}"))
            .arg(format!("--storage.tsdb.path={}/data", dir.0.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, port, _dir: dir }
    }

    /// What the API answers: the data, or the error.
    pub fn api(&self, path: &str) -> Result<Value, String> {
        let text = fetch(self.port, path)?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(answer.to_string()),
        }
    }

    /// The series that a query has now.
    pub fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let mut data = self.api(&format!("/api/v1/query?query={}", encoded(expr)))?;
        Ok(data["result"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// The series that a query has between two times, in Unix seconds.
    pub fn range(&self, expr: &str, from: i64, to: i64) -> Result<Vec<Value>, String> {
        let query = encoded(expr);
        let mut data = self.api(&format!("/api/v1/query_range?query={query}&start={from}&end={to}&step=2"))?;
        Ok(data["result"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// The value of the only series of a query; nothing if it has none.
    pub fn number(&self, expr: &str) -> Option<f64> {
        let series = self.query(expr).ok()?;
        series.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a query has this value.
    pub fn until(&self, expr: &str, right: impl Fn(f64) -> bool) {
        let start = dunlin::base::clock::mono_ns();
        loop {
            let now = self.number(expr);
            if now.is_some_and(&right) {
                return;
            }
            let waited = (dunlin::base::clock::mono_ns() - start) / 1_000_000_000;
            assert!(waited < 60, "{expr} is {now:?}");
            dunlin::base::clock::pause_us(50_000);
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
