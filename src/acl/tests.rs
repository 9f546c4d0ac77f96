//! Rules on a small table of commands: how they are read, shown and checked.

use proptest::prelude::*;

use super::*;
use crate::spec::{Cat, Flags, Group, KeyFlags, KeySpec, Meta};

const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const WRITE: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);
const LOOK: KeyFlags = KeyFlags::RO;

static METAS: [(Meta, bool, (u16, u16)); 20] = [
    (Meta::new("get", 2, Flags::READONLY.or(Flags::FAST), Group::String).keys(&[KeySpec::one(1, READ)]), false, (0, 0)),
    (Meta::new("set", -3, Flags::WRITE, Group::String).keys(&[KeySpec::one(1, WRITE)]), false, (0, 0)),
    (
        Meta::new("strlen", 2, Flags::READONLY.or(Flags::FAST), Group::String).keys(&[KeySpec::one(1, LOOK)]),
        false,
        (0, 0),
    ),
    (Meta::new("mget", -2, Flags::READONLY, Group::String).keys(&[KeySpec::range(1, -1, 1, READ)]), false, (0, 0)),
    (
        Meta::new("copy", -3, Flags::WRITE, Group::Generic)
            .keys(&[KeySpec::one(1, READ), KeySpec::one(2, KeyFlags::OW.or(KeyFlags::UPDATE))]),
        false,
        (0, 0),
    ),
    (
        Meta::new("move", 3, Flags::WRITE, Group::Generic).keys(&[KeySpec::one(1, READ.or(KeyFlags::DELETE))]),
        false,
        (0, 0),
    ),
    (Meta::new("hget", 3, Flags::READONLY, Group::Hash).keys(&[KeySpec::one(1, READ)]), false, (0, 0)),
    (Meta::new("select", 2, Flags::FAST, Group::Connection), false, (0, 0)),
    (Meta::new("swapdb", 3, Flags::WRITE, Group::Generic), false, (0, 0)),
    (Meta::new("flushall", -1, Flags::WRITE, Group::Generic).cat(Cat::DANGEROUS), false, (0, 0)),
    (Meta::new("debug", -2, Flags::ADMIN, Group::Server), false, (0, 0)),
    (Meta::new("auth", -2, Flags::NO_AUTH.or(Flags::FAST), Group::Connection), false, (0, 0)),
    (Meta::new("ping", -1, Flags::FAST, Group::Connection), false, (0, 0)),
    (Meta::new("publish", 3, Flags::PUBSUB.or(Flags::FAST), Group::Pubsub), false, (0, 0)),
    (Meta::new("subscribe", -2, Flags::PUBSUB, Group::Pubsub), false, (0, 0)),
    (Meta::new("psubscribe", -2, Flags::PUBSUB, Group::Pubsub), false, (0, 0)),
    (Meta::new("config", -2, Flags::NONE, Group::Server), false, (17, 20)),
    (Meta::new("config|get", -3, Flags::ADMIN, Group::Server), true, (0, 0)),
    (Meta::new("config|set", -4, Flags::ADMIN, Group::Server), true, (0, 0)),
    (Meta::new("config|help", 2, Flags::NONE, Group::Server), true, (0, 0)),
];

fn acl() -> Acl {
    let rows = METAS.iter().map(|(meta, is_sub, (from, to))| (meta, *is_sub, *from..*to));
    Acl::new(Table::new(rows), &Config::new())
}

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').filter(|word| !word.is_empty()).map(str::as_bytes).collect()
}

fn set(acl: &Acl, name: &str, rules: &str) -> Result<Arc<User>, String> {
    let change = acl.set(name.as_bytes(), &words(rules), &acl.env(&Config::new()));
    change.map(|(_, new)| new.unwrap()).map_err(|why| String::from_utf8_lossy(&why).into_owned())
}

fn text(user: &User) -> String {
    String::from_utf8(user.text()).unwrap()
}

/// What a new user with these rules may not do, or `OK`.
fn check(rules: &str, command: &str) -> String {
    check_in(rules, command, 0)
}
fn check_in(rules: &str, command: &str, db: usize) -> String {
    let acl = acl();
    let user = set(&acl, "u", rules).unwrap();
    let argv = words(command);
    let full = [argv[0], b"|", argv.get(1).copied().unwrap_or_default()].concat();
    let id = acl.table.find(&full).or_else(|| acl.table.find(argv[0])).unwrap();
    match user.check(&acl.table, id, &argv, db) {
        Ok(()) => "OK".into(),
        Err(why) => format!("{} {}", why.reason.name(), String::from_utf8_lossy(&why.object)),
    }
}

#[test]
fn the_first_user_may_do_everything_and_a_new_one_nothing() {
    let acl = acl();
    assert_eq!(acl.default_user().line(), b"user default on nopass sanitize-payload ~* &* +@all");
    assert!(acl.default_user().unrestricted && acl.is_open() && acl.is_plain());
    let user = set(&acl, "u", "").unwrap();
    assert_eq!(text(&user), "off sanitize-payload resetchannels -@all");
    assert!(!user.unrestricted && !acl.is_plain());
}

#[test]
fn command_rules_are_kept_in_order_and_replace_what_they_make_void() {
    for (rules, shown) in [
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        ("+@all -@hash -@slow +hget -@hash", "+@all -@slow +hget -@hash"),
        ("-@string -@slow +@all", "+@all"),
        ("+@HASH +@hash +@HaSh", "-@all +@hash"),
        ("+HGET +hget +hGeT", "-@all +hget"),
        ("+config|get +config", "-@all +config"),
        ("+select|0 +select|0 +debug|segfault +debug", "-@all +select|0 +debug"),
        ("+config +config|get -config|set +config", "-@all +config"),
        ("-@dangerous", "-@all -@dangerous"),
        ("+@all -config +config|get", "+@all -config +config|get"),
        ("allcommands nocommands", "-@all"),
    ] {
        let user = set(&acl(), "u", rules).unwrap();
        assert_eq!(String::from_utf8(user.root().commands_text()).unwrap(), shown, "{rules}");
    }
}

#[test]
fn wrong_rules_say_why_and_change_nothing() {
    let acl = acl();
    set(&acl, "u", "on ~a").unwrap();
    for (rules, why) in [
        ("+nosuch", "'+nosuch': Unknown command or category name in ACL"),
        ("-@nosuch", "'-@nosuch': Unknown command or category name in ACL"),
        ("+config|asdf", "'+config|asdf': Unknown command or category name in ACL"),
        ("+get|a|b", "'+get|a|b': Unknown command or category name in ACL"),
        ("+config|get|x", "'+config|get|x': Allowing first-arg of a subcommand is not supported"),
        ("+debug|", "'+debug|': Syntax error"),
        ("%~x", "'%~x': Syntax error"),
        ("%RR~x", "'%RR~x': Syntax error"),
        ("%R", "'%R': Syntax error"),
        ("heeyyyy", "'heeyyyy': Syntax error"),
        (")", "')': Syntax error"),
        ("#abc", "'#abc': The password hash must be exactly 64 characters and contain only lowercase"),
        ("<none", "'<none': The password you are trying to remove from the user does not exist"),
        ("allkeys ~b", "'~b': Adding a pattern after the * pattern (or the 'allkeys' flag)"),
        ("allchannels &b", "'&b': Adding a pattern after the * pattern (or the 'allchannels' flag)"),
        ("db=", "'db=': Syntax error"),
        ("db=1,x", "'db=1,x': Syntax error"),
        ("db=16", "'db=16': The database id is out of range"),
        ("(+get (+set)", "'(+get (+set)': Syntax error"),
    ] {
        let error = set(&acl, "u", &format!("off {rules}")).unwrap_err();
        assert!(error.starts_with(&format!("Error in ACL SETUSER modifier {why}")), "{rules}: {error}");
    }
    assert_eq!(
        set(&acl, "u", "(+get (+set (+del").unwrap_err(),
        "Unmatched parenthesis in acl selector starting at '(+get'."
    );
    assert_eq!(text(&acl.get(b"u").unwrap()), "on sanitize-payload ~a resetchannels -@all");
    for whole in ["~a b", "(~a) ~b)"] {
        let error = acl.set(b"u", &[whole.as_bytes()], &acl.env(&Config::new())).unwrap_err();
        assert_eq!(error, format!("Error in ACL SETUSER modifier '{whole}': Syntax error").into_bytes());
    }
}

#[test]
fn a_first_argument_cannot_smuggle_in_another_rule() {
    let acl = acl();
    for rule in ["+debug|a +@all", "+debug|a\t", "+debug|a)", "+debug|\"a", "+debug|a\0b"] {
        assert!(acl.set(b"u", &[rule.as_bytes()], &acl.env(&Config::new())).is_err(), "{rule:?}");
    }
    for rule in ["(~a\" \"~b)", "(~a'x)", "(\"~a b\")"] {
        assert!(acl.set(b"u", &[rule.as_bytes()], &acl.env(&Config::new())).is_err(), "{rule:?}");
    }
}

#[test]
fn passwords_are_hashed_and_any_of_them_lets_in() {
    let acl = acl();
    let user = set(&acl, "u", "on >one >two >one").unwrap();
    assert!(user.accepts(b"one") && user.accepts(b"two") && !user.accepts(b"three") && !user.accepts(b""));
    assert_eq!(user.passwords().len(), 2);
    assert_eq!(user.passwords().next().unwrap(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
    let hash = user.passwords().nth(1).unwrap();
    let user = set(&acl, "u", &format!("<one !{hash}")).unwrap();
    assert!(!user.accepts(b"one") && !user.accepts(b"two"));
    let user = set(&acl, "u", &format!("#{hash}")).unwrap();
    assert!(user.accepts(b"two"));
    assert!(set(&acl, "u", "nopass").unwrap().accepts(b"anything"));
    assert!(!set(&acl, "u", "off").unwrap().accepts(b"anything"));
    assert!(!set(&acl, "u", "on >x").unwrap().accepts(b"anything"), "a password ends nopass");
    let user = acl.set(b"u", &[b"resetpass", b">a\0b"], &acl.env(&Config::new())).unwrap().1.unwrap();
    assert!(user.accepts(b"a\0b") && !user.accepts(b"a"));
}

#[test]
fn reset_makes_a_user_new() {
    let acl = acl();
    let user = set(&acl, "u", "on >x +@all ~* &* db=1 skip-sanitize-payload (+get ~a) reset").unwrap();
    assert_eq!(text(&user), "off sanitize-payload resetchannels -@all");
}

#[test]
fn commands_are_allowed_by_name_subcommand_and_first_argument() {
    assert_eq!(check("~* +get", "get k"), "OK");
    assert_eq!(check("~* +get", "set k v"), "command set");
    assert_eq!(check("", "auth x"), "OK");
    assert_eq!(check("+@all -config", "config get x"), "command config|get");
    assert_eq!(check("+@all -config +config|get", "config get x"), "OK");
    assert_eq!(check("+@all -config|set", "config set x y"), "command config|set");
    assert_eq!(check("+select|1", "select 1"), "OK");
    assert_eq!(check("+select|1", "select 2"), "command select");
    assert_eq!(check("+debug|OBJECT", "debug object x"), "OK");
    assert_eq!(check("+debug|a -debug", "debug a"), "command debug");
    assert_eq!(check("+debug|a +@admin -@admin", "debug a"), "command debug");
}

#[test]
fn keys_need_what_the_command_does_with_them() {
    assert_eq!(check("+@all ~a*", "get abc"), "OK");
    assert_eq!(check("+@all ~a*", "get b"), "key b");
    assert_eq!(check("+@all %R~a", "get a"), "OK");
    assert_eq!(check("+@all %R~a", "set a v"), "key a");
    assert_eq!(check("+@all %W~a", "set a v"), "OK");
    assert_eq!(check("+@all %W~a", "get a"), "key a");
    assert_eq!(check("+@all %W~a", "strlen a"), "OK");
    assert_eq!(check("+@all %R~r %W~w", "copy r w"), "OK");
    assert_eq!(check("+@all %R~r %W~w", "copy w r"), "key w");
    assert_eq!(check("+@all (%R~r +@all) (%W~w +@all)", "copy r w"), "key w");
    assert_eq!(check("+mget ~key (+mget ~key ~other)", "mget key other third"), "key third");
    assert_eq!(check("+mget ~key (+mget ~key ~other)", "mget key other"), "OK");
    assert_eq!(check("+@all", "get"), "OK", "who checks the arity refuses it");
}

#[test]
fn both_permissions_for_every_key_are_all_keys() {
    let acl = acl();
    for rules in ["%RW~*", "%R~* %W~*", "~a ~*", "~a %RW~* ~b %R~c"] {
        assert_eq!(
            text(&set(&acl, "u", &format!("reset {rules}")).unwrap()),
            "off sanitize-payload ~* resetchannels -@all"
        );
    }
    assert_eq!(text(&set(&acl, "u", "reset %R~a %W~a").unwrap()), "off sanitize-payload ~a resetchannels -@all");
}

#[test]
fn channels_match_by_pattern_and_patterns_literally() {
    assert_eq!(check("+@all &a*", "publish abc x"), "OK");
    assert_eq!(check("+@all &a*", "publish b x"), "channel b");
    assert_eq!(check("+@all &a*", "subscribe a b"), "channel b");
    assert_eq!(check("+@all &a*", "psubscribe a*"), "OK");
    assert_eq!(check("+@all &a*", "psubscribe ab"), "channel ab");
    assert_eq!(check("+@all &* resetchannels", "publish a x"), "channel a");
}

#[test]
fn databases_are_those_that_a_command_touches() {
    for (command, db, expected) in [
        ("get k", 0, "OK"),
        ("get k", 2, "database 2"),
        ("select 1", 2, "OK"),
        ("select 2", 0, "database 2"),
        ("swapdb 0 1", 2, "OK"),
        ("swapdb 0 2", 0, "database 2"),
        ("move k 1", 0, "OK"),
        ("move k 2", 0, "database 2"),
        ("move k 1", 2, "database 2"),
        ("copy a b DB 1", 0, "OK"),
        ("copy a b DB 2", 0, "database 2"),
        ("copy a b DB 1 REPLACE DB 2", 0, "database 2"),
        ("copy a b DB 2 DB 1", 0, "database 2"),
        ("flushall", 0, "database flushall"),
        ("ping", 2, "OK"),
        ("publish a b", 2, "OK"),
    ] {
        assert_eq!(check_in("+@all ~* &* db=0,1", command, db), expected, "{command} in {db}");
    }
    assert_eq!(check("+@all ~* resetdbs", "get k"), "database 0");
    assert_eq!(check("+@all ~* db=1 alldbs", "get k"), "OK");
    let acl = acl();
    assert_eq!(text(&set(&acl, "u", "db=3,1 db=2,0").unwrap()), "off sanitize-payload resetchannels db=0,2 -@all");
    assert_eq!(text(&set(&acl, "u", "resetdbs").unwrap()), "off sanitize-payload resetchannels resetdbs -@all");
    assert_eq!(text(&set(&acl, "u", "alldbs").unwrap()), "off sanitize-payload resetchannels -@all");
}

#[test]
fn selectors_may_be_spread_over_arguments_and_know_nothing_of_each_other() {
    let acl = acl();
    let user = set(&acl, "u", "(~k1 +get ) ( ~k2 +get ) ( ~k3 +get) (~k4 +get) ()").unwrap();
    assert_eq!(
        text(&user),
        "off sanitize-payload resetchannels -@all (~k1 resetchannels -@all +get) (~k2 resetchannels -@all +get) \
         (~k3 resetchannels -@all +get) (~k4 resetchannels -@all +get) (resetchannels -@all)"
    );
    assert_eq!(set(&acl, "u", "clearselectors").unwrap().selectors.len(), 1);
}

#[test]
fn fewer_channels_are_noticed() {
    let acl = acl();
    let fewer = |old: &str, new: &str| {
        let old = set(&acl, "u", &format!("reset {old}")).unwrap();
        set(&acl, "u", &format!("reset {new}")).unwrap().channels_if_fewer_than(&old).is_some()
    };
    assert!(!fewer("&a &b", "&a &b &c") && !fewer("&a", "allchannels") && !fewer("", ""));
    assert!(fewer("&a &b", "&a") && fewer("allchannels", "&a") && fewer("(&a)", ""));
    assert!(!fewer("&a", "(&a)"));
}

#[test]
fn a_user_that_is_made_again_is_another() {
    let acl = acl();
    let first = set(&acl, "u", "on").unwrap();
    let version = acl.version();
    assert!(acl.again(&first).is_some());
    acl.delete(b"u").unwrap();
    assert!(acl.version() > version && acl.again(&first).is_none());
    set(&acl, "u", "on").unwrap();
    assert!(acl.again(&first).is_none());
    assert!(acl.delete(b"nobody").is_none());
}

#[test]
fn the_default_password_follows_requirepass() {
    let acl = acl();
    acl.set_default_password(b"secret");
    assert!(!acl.is_open() && !acl.default_has_no_password() && acl.default_user().accepts(b"secret"));
    acl.set_default_password(b"");
    assert!(acl.is_open());
    set(&acl, "default", "off").unwrap();
    assert!(!acl.is_open() && acl.default_has_no_password());
}

#[test]
fn a_file_of_users_is_taken_whole_or_not_at_all() {
    let acl = acl();
    let config = Config::new();
    let parse = |text: &str| file::parse(text.as_bytes(), "users.acl", &acl.env(&config));
    let users = parse("user alice on +@all ~* &* >alice\r\n\n  user bob -@all +@string (%R~r* +get)\n").unwrap();
    assert_eq!(users.len(), 2);
    let gone = set(&acl, "gone", "on").unwrap();
    let became = acl.replace(users, &acl.env(&config));
    assert!(became.iter().any(|(old, new)| old.id == gone.id && new.is_none()));
    let names: Vec<Vec<u8>> = acl.all().iter().map(|user| user.name.clone()).collect();
    assert_eq!(names, [&b"alice"[..], b"bob", b"default"]);
    assert!(acl.default_user().unrestricted);
    let tail = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    for (text, why) in [
        ("user a on\nuser a on", "WARNING: Duplicate user 'a' found on line 2. "),
        ("# comment", "users.acl:1 should start with user keyword followed by the username. "),
        ("user", "users.acl:1 should start with user keyword followed by the username. "),
        (
            "\nuser a +nosuch",
            "users.acl:2: Error in applying operation '+nosuch': Unknown command or category name in ACL. ",
        ),
        ("user a >x <y ~* ~b", "users.acl:1: The password you are trying to remove from the user does not exist. "),
        ("user a (+get", "users.acl:1: Unmatched parenthesis in selector definition."),
        ("user a\tb on", "'users.acl:1: username 'a\tb' contains invalid characters. "),
    ] {
        assert_eq!(parse(text).unwrap_err(), format!("{why}{tail}"), "{text}");
    }
}

#[test]
fn user_lines_of_the_configuration_begin_from_nothing() {
    let acl = acl();
    let env = acl.env(&Config::new());
    let line = |line: &str| line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    acl.load(&[line("default on nopass ~* +@all"), line("w +get (~a +set)")], &env).unwrap();
    assert_eq!(text(&acl.default_user()), "on nopass sanitize-payload ~* resetchannels +@all");
    let error = |lines: &[&str]| acl.load(&lines.iter().map(|l| line(l)).collect::<Vec<_>>(), &env).unwrap_err();
    let (at, why) = error(&["x", "x on"]);
    assert!(at == 1 && why.contains("Duplicate user found"), "{why}");
    let (at, why) = error(&["x +nosuch"]);
    assert!(at == 0 && why.contains("'+nosuch': Unknown command"), "{why}");
    assert!(acl.load(&[vec![b"a b".to_vec()]], &env).is_err());
}

/// Rules that may follow one another in any order.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let single = prop_oneof![
        Just("on"),
        Just("off"),
        Just("nopass"),
        Just("resetpass"),
        Just("reset"),
        Just("allkeys"),
        Just("resetkeys"),
        Just("allchannels"),
        Just("resetchannels"),
        Just("alldbs"),
        Just("resetdbs"),
        Just("+@all"),
        Just("-@all"),
        Just("skip-sanitize-payload"),
        Just("sanitize-payload"),
        Just("clearselectors"),
    ]
    .prop_map(str::to_owned);
    let command = prop_oneof![
        Just("get"),
        Just("set"),
        Just("select"),
        Just("debug"),
        Just("config"),
        Just("config|get"),
        Just("config|set"),
        Just("@string"),
        Just("@slow"),
        Just("@fast"),
        Just("@admin"),
        Just("@dangerous"),
        Just("@connection"),
    ];
    let command = (prop_oneof![Just('+'), Just('-')], command).prop_map(|(sign, what)| format!("{sign}{what}"));
    let first = (prop_oneof![Just("select"), Just("debug")], "[0-9a-zA-Z]{1,3}").prop_map(|(c, a)| format!("+{c}|{a}"));
    let keys = (prop_oneof![Just("~"), Just("%R~"), Just("%W~"), Just("%RW~")], "[a-c*?()\\[\\]\"\\\\]{0,3}")
        .prop_map(|(sign, pattern)| format!("{sign}{pattern}"));
    let channels = "&[a-c*()]{0,3}";
    let databases = proptest::collection::vec(0usize..16, 1..4)
        .prop_map(|ids| format!("db={}", ids.iter().map(usize::to_string).collect::<Vec<_>>().join(",")));
    let password = prop_oneof![">[a-c]{0,2}", "<[a-c]{0,2}"];
    let flat = prop_oneof![
        3 => single.clone(), 5 => command.clone(), 2 => first.clone(), 4 => keys.clone(), 3 => channels,
        2 => databases.clone(), 2 => password
    ];
    let inner = prop_oneof![4 => command, 1 => first, 3 => keys, 2 => "&[a-c*()]{0,3}", 1 => databases, 1 => single];
    let selector = proptest::collection::vec(inner, 0..5).prop_map(|rules| format!("({})", rules.join(" ")));
    proptest::collection::vec(prop_oneof![6 => flat, 1 => selector], 0..16)
}

proptest! {
    /// What ACL LIST prints makes the same user, given as one line of a file and as arguments.
    #[test]
    fn what_is_shown_makes_the_same_user(rules in rules()) {
        let acl = acl();
        let env = acl.env(&Config::new());
        let mut user = User::new(b"u", 7, &env);
        for rule in &rules {
            // A rule that is refused may have done nothing.
            let before = user.clone();
            if user.apply(rule.as_bytes(), &env).is_err() {
                prop_assert_eq!(&user.selectors[1..], &before.selectors[1..]);
                user = before;
            }
        }
        let line = user.text();
        let mut again = User::new(b"u", 7, &env);
        for rule in merge(&line.split(|c| *c == b' ').collect::<Vec<_>>()).unwrap() {
            prop_assert_eq!(again.apply(&rule, &env), Ok(()), "{} in {}", String::from_utf8_lossy(&rule), String::from_utf8_lossy(&line));
        }
        let shown = again.text();
        prop_assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&line));
        // Bits that were set by +@all and taken one by one are shown the same; what counts is what may run.
        for (id, (meta, is_sub, _)) in METAS.iter().enumerate() {
            let argv: Vec<&[u8]> = if *is_sub { vec![b"config", b"x", b"a"] } else { vec![meta.name.as_bytes(), b"a", b"1"] };
            for db in [0, 3] {
                prop_assert_eq!(user.check(&acl.table, id as u16, &argv, db), again.check(&acl.table, id as u16, &argv, db));
            }
        }
        prop_assert_eq!(user.unrestricted, again.unrestricted);
        let mut file = file::parse(&[b"user u ", &line[..]].concat(), "f", &env).unwrap();
        file[0].id = 7;
        prop_assert_eq!(&file[0], &again);
    }

    /// No rule, however odd, does more than be refused.
    #[test]
    fn any_bytes_can_be_rules(rules in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 0..6)) {
        let acl = acl();
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let _ = acl.set(b"u", &rules, &acl.env(&Config::new()));
        let _ = file::parse(&rules.concat(), "f", &acl.env(&Config::new()));
    }
}
