//! Tests that go over the whole table, and those of CONFIG GET and SET.

use super::*;
use std::sync::Arc;

fn get(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]);
    String::from_utf8(found.into_iter().next().map(|(_, value)| value).unwrap_or_default()).unwrap()
}

fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<(), String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    config.set(&pairs, false)
}

#[test]
fn every_default_parses_and_prints_as_itself() {
    for row in table().iter().filter(|row| !matches!(row.kind, Kind::Dir)) {
        let value = parse_line(row, &[row.default.as_bytes()], b"").unwrap_or_else(|e| panic!("{}: {e}", row.name));
        assert_eq!(String::from_utf8_lossy(&value.text), row.default, "{}", row.name);
        let in_file = row.kind.in_file(&value);
        let words = split::split(&in_file).unwrap();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        assert_eq!(parse_line(row, &words, b"").unwrap(), value, "{}: {in_file:?}", row.name);
    }
}

#[test]
fn every_mutable_option_can_be_set_to_what_it_is() {
    let config = Config::new();
    for row in table().iter().filter(|row| row.is(MUTABLE) && !row.is(PROTECTED)) {
        let value = get(&config, row.name);
        set(&config, &[(row.name, &value)]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(get(&config, row.name), value, "{}", row.name);
    }
    for row in table().iter().filter(|row| !row.is(MUTABLE)) {
        let error = set(&config, &[(row.name, "1")]).unwrap_err();
        assert!(error.ends_with("can't set immutable config"), "{error}");
    }
}

#[test]
fn names_are_unique_lower_case_and_found_in_any_case() {
    let mut seen = std::collections::HashSet::new();
    for (at, row) in table().iter().enumerate() {
        for name in std::iter::once(&row.name).chain(row.aliases) {
            assert!(seen.insert(*name), "{name} is there twice");
            assert_eq!(*name, name.to_ascii_lowercase());
            assert_eq!(find(name.to_ascii_uppercase().as_bytes()), Some(at));
        }
        assert_eq!(index_of(row.name), at);
    }
    assert_eq!(find(b"no-such-option"), None);
}

#[test]
fn aliases_read_and_set_the_same_value() {
    let config = Config::new();
    for row in table() {
        for alias in row.aliases {
            assert_eq!(get(&config, alias), get(&config, row.name));
        }
    }
    set(&config, &[("slowlog-log-slower-than", "7")]).unwrap();
    assert_eq!(config.commandlog_execution_slower_than(), 7);
    assert_eq!(get(&config, "masterauth"), get(&config, "primaryauth"));
}

#[test]
fn get_takes_several_patterns_and_answers_each_name_once() {
    let config = Config::new();
    let names = |patterns: &[&[u8]]| -> Vec<String> {
        config.get(patterns).into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
    };
    assert_eq!(names(&[b"maxmemory-s*", b"MAXMEMORY-SAMPLES"]), ["maxmemory-samples"]);
    assert_eq!(names(&[b"PORT"]), ["PORT"]);
    assert_eq!(names(&[b"port", b"timeout", b"nothing"]), ["port", "timeout"]);
    assert_eq!(names(&[b"slave-p*"]), ["slave-priority"]);
    assert!(names(&[b"*"]).contains(&"hash-max-ziplist-entries".to_owned()));
    assert!(!names(&[b"*"]).contains(&"key-load-delay".to_owned()));
    assert_eq!(names(&[b"key-load-delay"]), ["key-load-delay"]);
    assert!(!get(&config, "dir").is_empty());
}

#[test]
fn set_changes_all_or_nothing() {
    let config = Config::new();
    set(&config, &[("maxmemory", "1mb"), ("hz", "50")]).unwrap();
    assert_eq!((config.maxmemory(), config.hz()), (1 << 20, 50));
    let error = set(&config, &[("hz", "60"), ("maxmemory", "x")]).unwrap_err();
    assert_eq!(error, "CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value");
    assert_eq!((config.maxmemory(), config.hz()), (1 << 20, 50));
    set(&config, &[("hz", "100000")]).unwrap();
    assert_eq!(config.hz(), 500);
}

#[test]
fn set_refuses_in_the_words_clients_know() {
    let config = Config::new();
    let error = |pairs: &[(&str, &str)]| set(&config, pairs).unwrap_err();
    assert_eq!(error(&[("nope", "1")]), "Unknown option or number of arguments for CONFIG SET - 'nope'");
    assert_eq!(
        error(&[("port", "1"), ("PORT", "2")]),
        "CONFIG SET failed (possibly related to argument 'PORT') - duplicate parameter"
    );
    assert_eq!(
        error(&[("databases", "1")]),
        "CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"
    );
    assert_eq!(
        error(&[("dir", "/")]),
        "CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"
    );
    assert_eq!(
        error(&[("maxclients", "0")]),
        "CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and 4294967295 inclusive"
    );
    set(&config, &[("save", ""), ("appendonly", "no")]).unwrap();
}

#[test]
fn a_failing_hook_puts_everything_back() {
    let config = Config::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = calls.clone();
    config.on_change(Box::new(move |config, name| {
        seen.lock().push((name, config.port()));
        if name == "port" && config.port() == 1 { Err("Unable to listen on this port".into()) } else { Ok(()) }
    }));
    let error = set(&config, &[("hz", "20"), ("port", "1")]).unwrap_err();
    assert_eq!(error, "CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port");
    assert_eq!((config.hz(), config.port()), (10, 6379));
    assert_eq!(*calls.lock(), [("hz", 1), ("port", 1), ("hz", 6379), ("port", 6379)]);
    calls.lock().clear();
    set(&config, &[("hz", "10"), ("timeout", "5")]).unwrap();
    assert_eq!(*calls.lock(), [("timeout", 6379)], "an option that stays as it is calls no hook");
}

#[test]
fn parsed_forms_follow_their_texts() {
    let config = Config::new();
    assert_eq!(config.output_limit(1), OutputLimit { hard: 256 << 20, soft: 64 << 20, soft_seconds: 60 });
    set(&config, &[("client-output-buffer-limit", "pubsub 1mb 2 3")]).unwrap();
    assert_eq!(config.output_limit(2), OutputLimit { hard: 1 << 20, soft: 2, soft_seconds: 3 });
    assert_eq!(config.output_limit(0), OutputLimit::default());
    assert_eq!(config.latency_percentiles(), [50.0, 99.0, 99.9]);
    set(&config, &[("latency-tracking-info-percentiles", "")]).unwrap();
    assert!(config.latency_percentiles().is_empty());
    assert_eq!(config.bind_addresses(), ["*", "-::*"]);
    set(&config, &[("maxmemory", "1000"), ("maxmemory-clients", "10%")]).unwrap();
    assert_eq!(config.maxmemory_clients(), 100);
    assert_eq!(config.maxmemory_policy(), Policy::NoEviction);
    set(&config, &[("maxmemory-policy", "ALLKEYS-LFU"), ("notify-keyspace-events", "Kx")]).unwrap();
    assert_eq!(config.maxmemory_policy(), Policy::AllkeysLfu);
    assert_eq!(config.notify_keyspace_events(), events::KEYSPACE | events::EXPIRED);
    assert_eq!(config.oom_values_text(), "0 200 800");
}

impl Config {
    fn oom_values_text(&self) -> String {
        String::from_utf8(self.text_of("oom-score-adj-values")).unwrap()
    }
}

#[test]
fn options_without_effect_are_reported_when_set() {
    let config = Config::new();
    assert_eq!(config.without_effect(), [""; 0]);
    set(&config, &[("rdb-del-sync-files", "yes"), ("hz", "11")]).unwrap();
    assert_eq!(config.without_effect(), ["rdb-del-sync-files"]);
}
