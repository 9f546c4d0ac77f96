//! The commands of streams, on an engine without sockets.

use crate::commands::testing::Bench;

fn bench() -> Bench {
    Bench::new()
}

#[test]
fn entries_get_ids_that_ascend_and_go_into_the_log_with_them() {
    let mut b = bench();
    assert_eq!(b.run("xadd s * f v"), "$9 1000000-0");
    assert_eq!(b.log, ["XADD s 1000000-0 f v"]);
    assert_eq!(b.events, ["new s", "xadd s"]);
    assert_eq!(b.run("xadd s * f v"), "$9 1000000-1");
    assert_eq!(b.run("xadd s 1000001-* f v"), "$9 1000001-0");
    assert_eq!(b.log, ["XADD s 1000001-0 f v"]);
    assert_eq!(b.run("xadd s 1000001-7 f v g w"), "$9 1000001-7");
    assert_eq!(b.log, ["xadd s 1000001-7 f v g w"]);
    let top = "-ERR The ID specified in XADD is equal or smaller than the target stream top item";
    assert_eq!(b.run("xadd s 5 f v"), top);
    assert_eq!(b.run("xadd s 0-0 f v"), "-ERR The ID specified in XADD must be greater than 0-0");
    assert_eq!(b.run("xadd s x f v"), "-ERR Invalid stream ID specified as stream command argument");
    assert_eq!(b.run("xadd s * f v g"), "-ERR wrong number of arguments for 'xadd' command");
    assert_eq!(b.run("xadd none nomkstream * f v"), "$-1");
    assert_eq!(
        (b.run("xlen s"), b.run("type s"), b.run("object encoding s")),
        (":4".into(), "+stream".into(), "$6 stream".into())
    );
    b.run("xadd t 18446744073709551615-18446744073709551615 f v");
    let end = "-ERR The stream has exhausted the last possible ID, unable to add more items";
    assert_eq!(b.run("xadd t * f v"), end);
    b.run("set k v");
    assert!(b.run("xadd k * f v").starts_with("-WRONGTYPE"));
}

#[test]
fn a_trim_is_logged_by_what_it_came_to() {
    let mut b = bench();
    b.config("stream-node-max-entries", "10");
    for _ in 0..35 {
        b.run("xadd s * f v");
    }
    assert_eq!(b.run("xadd s maxlen ~ 12 limit 100 * f v"), "$10 1000000-35");
    assert_eq!(b.log, ["XADD s MAXLEN = 16 1000000-35 f v"]);
    assert_eq!(b.events, ["xadd s", "xtrim s"]);
    assert_eq!(b.run("xtrim s minid ~ 1000000-31"), ":10");
    assert_eq!(b.log, ["XTRIM s MINID = 1000000-30"]);
    assert_eq!((b.run("xtrim s maxlen 3"), b.log.clone()), (":3".into(), vec!["xtrim s maxlen 3".into()]));
    assert_eq!((b.run("xtrim s maxlen ~ 3"), b.log.len()), (":0".into(), 0));
    let both = "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
    assert_eq!(b.run("xtrim s maxlen 3 minid 4"), both);
    assert_eq!(
        b.run("xtrim s maxlen 3 limit 4"),
        "-ERR syntax error, LIMIT cannot be used without the special ~ option"
    );
    assert_eq!(b.run("xtrim s maxlen -1"), "-ERR The MAXLEN argument must be >= 0.");
    assert_eq!(b.run("xtrim s what 1"), "-ERR syntax error");
}

#[test]
fn ranges_go_both_ways_and_may_be_open() {
    let mut b = bench();
    for ms in 1..=4 {
        b.run(&format!("xadd s {ms}-0 f {ms}"));
    }
    assert_eq!(b.run("xrange s 2 3"), "*2 *2 $3 2-0 *2 $1 f $1 2 *2 $3 3-0 *2 $1 f $1 3");
    assert_eq!(b.run("xrange s (2-0 + count 1"), "*1 *2 $3 3-0 *2 $1 f $1 3");
    assert_eq!(b.run("xrevrange s + - count 1"), "*1 *2 $3 4-0 *2 $1 f $1 4");
    assert_eq!(b.run("xrevrange s (4-0 4"), "*0");
    assert_eq!((b.run("xrange s - + count 0"), b.run("xrange none - +")), ("*-1".into(), "*0".into()));
    assert_eq!(
        b.run("xrange s (18446744073709551615-18446744073709551615 +"),
        "-ERR invalid start ID for the interval"
    );
    assert_eq!(b.run("xrange s - (0-0"), "-ERR invalid end ID for the interval");
    assert_eq!((b.run("xdel s 2-0 2-0 9-9"), b.run("xlen s")), (":1".into(), ":3".into()));
}

#[test]
fn a_read_waits_for_what_comes_after_the_id_that_dollar_meant() {
    let mut b = bench();
    b.run("xadd s 1-0 f v");
    assert_eq!(b.run("xread count 5 streams s 0"), "*1 *2 $1 s *1 *2 $3 1-0 *2 $1 f $1 v");
    assert_eq!(b.run("xread streams s +"), "*1 *2 $1 s *1 *2 $3 1-0 *2 $1 f $1 v");
    assert_eq!((b.run("xread streams s $"), b.blocked), ("*-1".into(), false));
    assert_eq!((b.run("xread block 0 streams s $"), b.blocked), (String::new(), true));
    b.resp3();
    assert_eq!(b.run("xread streams s 0-5"), "%1 $1 s *1 *2 $3 1-0 *2 $1 f $1 v");
    let unbalanced = "-ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.";
    assert_eq!(b.run("xread streams s t 0"), unbalanced);
    assert_eq!(b.run("xread block -1 streams s 0"), "-ERR timeout is negative");
    assert_eq!(b.run("xread block x streams s 0"), "-ERR timeout is not an integer or out of range");
}

#[test]
fn what_a_group_reads_is_logged_as_claims() {
    let mut b = bench();
    assert!(b.run("xreadgroup group g c streams s >").starts_with("-NOGROUP No such key 's' or consumer group 'g' in"));
    assert_eq!(b.run("xgroup create s g $ mkstream"), "+OK");
    assert_eq!(b.run("xgroup create s g $"), "-BUSYGROUP Consumer Group name already exists");
    b.run("xadd s 1-0 f v");
    b.run("xadd s 2-0 f w");
    assert_eq!(b.run("xreadgroup group g c count 1 streams s >"), "*1 *2 $1 s *1 *2 $3 1-0 *2 $1 f $1 v");
    assert_eq!(
        b.log,
        ["XCLAIM s g c 0 1-0 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-0", "XGROUP SETID s g 1-0 ENTRIESREAD 1",]
    );
    assert_eq!(b.run("xreadgroup group g d noack streams s >"), "*1 *2 $1 s *1 *2 $3 2-0 *2 $1 f $1 w");
    assert_eq!(b.log, ["XGROUP CREATECONSUMER s g d", "XGROUP SETID s g 2-0 ENTRIESREAD 2"]);
    assert_eq!((b.run("xreadgroup group g d block 0 streams s >"), b.blocked, b.log.len()), (String::new(), true, 0));
    assert_eq!(b.run("xreadgroup group g e streams s >"), "*-1");
    assert_eq!(b.log, ["XGROUP CREATECONSUMER s g e"], "no claim tells of this one");
    b.run("xgroup delconsumer s g e");
    assert_eq!(b.run("xpending s g"), "*4 :1 $3 1-0 $3 1-0 *1 *2 $1 c $1 1");
    b.now += 50;
    assert_eq!(b.run("xpending s g - + 10"), "*1 *4 $3 1-0 $1 c :50 :1");
    assert_eq!(b.run("xpending s g idle 60 - + 10"), "*0");
    assert_eq!(b.run("xclaim s g d 60 1-0"), "*0");
    assert_eq!(b.run("xclaim s g d 10 1-0"), "*1 *2 $3 1-0 *2 $1 f $1 v");
    assert_eq!(b.log, ["XCLAIM s g d 0 1-0 TIME 1000050 RETRYCOUNT 2 FORCE JUSTID LASTID 2-0"]);
    assert_eq!(b.run("xautoclaim s g c 0 0 justid"), "*3 $3 0-0 *1 $3 1-0 *0");
    assert_eq!(b.run("xreadgroup group g c streams s 0"), "*1 *2 $1 s *1 *2 $3 1-0 *2 $1 f $1 v");
    b.run("xdel s 1-0");
    assert_eq!(b.run("xreadgroup group g c streams s 0"), "*1 *2 $1 s *1 *2 $3 1-0 *-1");
    assert_eq!(b.run("xautoclaim s g c 0 -"), "*3 $3 0-0 *0 *1 $3 1-0");
    assert_eq!((b.run("xack s g 1-0"), b.run("xgroup delconsumer s g c")), (":0".into(), ":0".into()));
    assert_eq!((b.run("xgroup destroy s g"), b.run("xgroup destroy s g")), (":1".into(), ":0".into()));
}

#[test]
fn info_tells_of_streams_groups_and_consumers() {
    let mut b = bench();
    b.run("xadd s 1-0 f v");
    b.run("xgroup create s g 0");
    b.run("xreadgroup group g c streams s >");
    b.now += 5;
    assert_eq!(b.run("xinfo consumers s g"), "*1 *8 $4 name $1 c $7 pending :1 $4 idle :5 $8 inactive :5");
    assert_eq!(
        b.run("xinfo groups s"),
        "*1 *12 $4 name $1 g $9 consumers :1 $7 pending :1 $17 last-delivered-id $3 1-0 $12 entries-read :1 $3 lag :0"
    );
    assert!(
        b.run("xinfo stream s")
            .ends_with("$11 first-entry *2 $3 1-0 *2 $1 f $1 v $10 last-entry *2 $3 1-0 *2 $1 f $1 v")
    );
    assert!(b.run("xinfo stream s full").contains("$7 pending *1 *4 $3 1-0 $1 c :1000000 :1 $9 consumers *1"));
    assert_eq!(b.run("xinfo stream none"), "-ERR no such key");
    assert_eq!(
        b.run("xinfo stream s what"),
        "-ERR unknown subcommand or wrong number of arguments for 'stream'. Try XINFO HELP."
    );
}

#[test]
fn the_numbers_of_a_stream_can_be_set_but_not_contradict_its_entries() {
    let mut b = bench();
    b.run("xadd s 5-0 f v");
    assert_eq!(b.run("xsetid none 1-1"), "-ERR no such key");
    let top = "-ERR The ID specified in XSETID is smaller than the target stream top item";
    assert_eq!(b.run("xsetid s 4-0"), top);
    assert_eq!(
        b.run("xsetid s 9-0 entriesadded 0 maxdeletedid 1-0"),
        "-ERR The entries_added specified in XSETID is smaller than the target stream length"
    );
    assert_eq!(b.run("xsetid s 9-0 entriesadded 7 maxdeletedid 6-0"), "+OK");
    assert_eq!(
        b.run("xsetid s 9-0 maxdeletedid 10-0"),
        "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
    );
    assert_eq!(b.run("xsetid s 9-0 entriesadded -1"), "-ERR entries_added must be positive");
    assert_eq!(b.run("xadd s 9-* f v"), "$3 9-1");
}
