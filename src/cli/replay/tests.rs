//! Logs put to other policies: what differs, what is not guessed, what bad lines do.

use std::fmt::Write as _;

use super::tally::PAIRS_MAX;
use super::*;
use crate::config::fixture::LEAST;

/// The policy under which the logs were written.
const PARTNERS: &str = "addresses = [\"10.0.0.20\"]\n[[partner]]\ndomain = \"fabrikam.example\"\n\
                        [[blocked]]\ndomain = \"litware.example\"\n[addresses]\n\
                        allow_networks = [\"198.51.100.0/24\"]\n";

fn line(minute: u32, direction: &str, from: &str, to: &str, rest: &str) -> String {
    format!(
        "{{\"time\":\"2026-11-21T10:{minute:02}:00Z\",\"decision\":\"00000000000000{minute:02x}\",\
         \"shard\":0,\"epoch\":7,\"direction\":\"{direction}\",\"from\":\"{from}\",\
         \"to\":\"{to}\",{rest}}}\n"
    )
}

const PEER: &str = "\"peer\":{\"names\":[\"sip.fabrikam.example\"],\"client_auth\":true,\
                    \"anchors\":\"general\",\"known_good\":false}";
const DNS: &str = "\"dns\":[{\"srv\":\"fabrikam.example\",\"targets\":[{\"fqdn\":\
                   \"sip.fabrikam.example\",\"port\":5061,\"addresses\":[\"198.51.100.7\"]}]}]";
const PERMIT: &str = "\"verdict\":\"permit\",\"by\":\"policy\",\"kind\":\"allowed_domain\",\
                      \"verification\":\"source\",\"rule\":\"allowed partner domain \
                      fabrikam.example\",\"place\":\"partner[0]\",\"whereabouts\":\"old.toml:14\"";

/// A message from fabrikam.example that passed.
fn came_in(minute: u32) -> String {
    let rest = format!("{PEER},{DNS},{PERMIT}");
    line(minute, "in", "fabrikam.example", "contoso.example", &rest)
}

fn went_out(minute: u32) -> String {
    let rest = format!("{DNS},{PERMIT}");
    line(minute, "out", "contoso.example", "fabrikam.example", &rest)
}

fn was_blocked(minute: u32) -> String {
    let rest = "\"verdict\":\"refuse\",\"by\":\"policy\",\"refusal\":\"blocked\",\"rule\":\
                \"litware.example is blocked (rule blocked[0])\",\"place\":\"blocked[0]\",\
                \"whereabouts\":\"old.toml:16\",\"status\":403,\"diagnostics\":1005";
    line(minute, "out", "contoso.example", "litware.example", rest)
}

fn signed_in(minute: u32) -> String {
    let rest = "\"verdict\":\"permit\",\"by\":\"policy\",\"kind\":\"remote_user\",\
                \"verification\":\"never\",\"rule\":\"remote user of contoso.example\",\
                \"place\":\"remote_users.enabled\"";
    line(minute, "user", "contoso.example", "contoso.example", rest)
}

fn over_its_limit(minute: u32) -> String {
    let rest = "\"verdict\":\"refuse\",\"by\":\"limit\",\"rule\":\"too fast\",\"status\":480";
    line(minute, "in", "fabrikam.example", "contoso.example", rest)
}

/// Files in a directory of their own.
struct World {
    directory: tempfile::TempDir,
    args: Args,
}

impl World {
    fn new(policy: &str, log: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("new.toml"), format!("{LEAST}{policy}")).unwrap();
        std::fs::write(path("decisions.log"), log).unwrap();
        let (policy, logs) = (path("new.toml"), vec![path("decisions.log")]);
        Self { args: Args { policy, logs, json: false }, directory }
    }

    /// Returns what a reader sees, with the directory taken off.
    fn told(&self) -> String {
        let tally = replay(&self.args).unwrap_or_else(|error| panic!("{error:#}"));
        self.bare(&show::text(&self.args, &tally))
    }

    fn bare(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn refused(&self) -> String {
        self.bare(&format!("{:#}", replay(&self.args).unwrap_err()))
    }

    fn code(&self) -> ExitCode {
        run(&self.args).unwrap()
    }
}

#[test]
fn the_same_policy_decides_the_same() {
    let log = [came_in(1), went_out(2), was_blocked(3), signed_in(4)].concat();
    let world = World::new(PARTNERS, &log);
    assert_eq!(
        world.told(),
        "new.toml asked about 4 decisions, 2026-11-21T10:01:00Z to 2026-11-21T10:04:00Z\n\n\
         \x20        4  the same\n\nnothing would be decided otherwise\n"
    );
    assert_eq!(world.code(), ExitCode::SUCCESS);
}

#[test]
fn a_partner_that_is_blocked_now_is_named_with_both_rules() {
    let log = [came_in(1), went_out(2), came_in(5), was_blocked(6)].concat();
    let policy = "addresses = [\"10.0.0.20\"]\n[[blocked]]\ndomain = \"fabrikam.example\"\n\
                  [[blocked]]\ndomain = \"litware.example\"\n";
    let world = World::new(policy, &log);
    assert_eq!(
        world.told(),
        "new.toml asked about 4 decisions, 2026-11-21T10:01:00Z to 2026-11-21T10:06:00Z\n\n\
         \x20        1  the same\n\
         \x20        3  decided otherwise\n\n\
         3 decisions passed and would be refused (blocked)\n\
         \x20 fabrikam.example to contoso.example, from a partner: 2 decisions, \
         2026-11-21T10:01:00Z to 2026-11-21T10:05:00Z\n\
         \x20   was permitted: allowed partner domain fabrikam.example (partner[0]), old.toml:14\n\
         \x20   would refuse it: fabrikam.example is blocked (rule blocked[0]), new.toml:14\n\
         \x20 contoso.example to fabrikam.example, to a partner: 1 decision, \
         at 2026-11-21T10:02:00Z\n\
         \x20   was permitted: allowed partner domain fabrikam.example (partner[0]), old.toml:14\n\
         \x20   would refuse it: fabrikam.example is blocked (rule blocked[0]), new.toml:14\n"
    );
    assert_eq!(world.code(), ExitCode::FAILURE);
}

#[test]
fn each_way_to_differ_is_told_apart() {
    let world = World::new(
        "addresses = [\"10.0.0.20\"]\n[federation]\ndiscovery = true\n\
         [remote_users]\nenabled = false\n",
        &[came_in(1), was_blocked(2), signed_in(3), over_its_limit(4)].concat(),
    );
    let told = world.told();
    assert!(told.contains("1  not asked again: a user, a limit,"), "{told}");
    assert!(told.contains("1 decision passed and would be refused (remote users off)"), "{told}");
    let rule = "would permit it: discovered partner domain fabrikam.example \
                (federation.discovery), new.toml:15";
    assert!(told.contains("1 decision passed and would under another rule\n"), "{told}");
    assert!(told.contains(rule), "{told}");
    // litware.example was refused without a look at DNS; what DNS says of it is not guessed.
    let asks = "1 decision would ask DNS first\n  contoso.example to litware.example";
    assert!(told.contains(asks), "{told}");
    let question = "would ask DNS first: _sipfederationtls._tcp.litware.example SRV, which the \
                    log does not hold\n";
    assert!(told.contains(question), "{told}");
    assert_eq!(world.code(), ExitCode::FAILURE);
}

#[test]
fn where_only_the_word_of_the_sender_counts_otherwise_that_is_said() {
    let trusted = PARTNERS.replace(
        "domain = \"fabrikam.example\"",
        "domain = \"fabrikam.example\"\nverification = \"always\"",
    );
    let told = World::new(&trusted, &came_in(1)).told();
    let was = "(partner[0]), old.toml:14; users count as verified: if their edge says so\n";
    assert!(told.contains(was), "{told}");
    let now = "(partner[0]), new.toml:14; users count as verified: all\n";
    assert!(told.contains(now), "{told}");
}

#[test]
fn an_entry_expires_at_the_time_of_the_line_and_not_of_the_reading() {
    let dated = |day: &str| {
        let expires = format!("domain = \"fabrikam.example\"\nexpires = {day}");
        PARTNERS.replace("domain = \"fabrikam.example\"", &expires)
    };
    let log = came_in(1);
    assert_eq!(World::new(&dated("2026-11-21"), &log).code(), ExitCode::SUCCESS);
    let told = World::new(&dated("2026-11-20"), &log).told();
    assert!(told.contains("passed and would be refused (entry expired)"), "{told}");
}

#[test]
fn a_chain_to_a_partners_own_anchors_leads_to_those_it_has_now() {
    let own = |log: &str| log.replace("\"anchors\":\"general\"", "\"anchors\":\"partner\"");
    let trusting = PARTNERS.replace(
        "domain = \"fabrikam.example\"",
        "domain = \"fabrikam.example\"\ntrust = [\"ca.pem\"]",
    );
    assert_eq!(World::new(&trusting, &own(&came_in(1))).code(), ExitCode::SUCCESS);
    let told = World::new(PARTNERS, &own(&came_in(1))).told();
    assert!(told.contains("would be refused (anchors of another)"), "{told}");
    let told = World::new(&trusting, &came_in(1)).told();
    assert!(told.contains("would be refused (anchors of another)"), "{told}");
}

#[test]
fn bad_lines_are_counted_and_the_first_is_named_and_a_torn_end_is_left_out() {
    let half = &came_in(9)[..100];
    let log = format!("{}nonsense\n\n{{}}\n{}{half}", came_in(1), came_in(2));
    let world = World::new(PARTNERS, &log);
    let told = world.told();
    assert!(told.contains("         2  the same\n"), "{told}");
    let bad =
        "         2  unreadable; the first: decisions.log:2: expected ident at line 1 column 2\n";
    assert!(told.contains(bad), "{told}");
    assert!(told.contains("         1  torn: the last line of a log, left out\n"), "{told}");
    assert_eq!(world.code(), ExitCode::SUCCESS);
}

#[test]
fn a_line_without_end_is_read_and_an_endless_one_skipped() {
    let whole = came_in(1);
    let endless = "x".repeat(3 * LINE_BYTES_MAX);
    let log = format!("{endless}\n{}", whole.trim_end());
    let told = World::new(PARTNERS, &log).told();
    let bad = "1  unreadable; the first: decisions.log:1: longer than 1048576 bytes\n";
    assert!(told.contains(bad), "{told}");
    assert!(told.contains("         1  the same\n"), "{told}");
    assert!(!told.contains("torn"), "{told}");
}

#[test]
fn what_cannot_be_done_is_said_and_ends_with_2() {
    let mut world = World::new(PARTNERS, "");
    assert_eq!(world.refused(), "the logs hold no decision");
    assert_eq!(world.code(), ExitCode::from(2));
    std::fs::write(&world.args.logs[0], "a\n").unwrap();
    let none = "no line of the logs is a decision; the first: decisions.log:1: expected value at \
                line 1 column 1";
    assert_eq!(world.refused(), none);
    world.args.logs.push(world.directory.path().join("none.log"));
    assert_eq!(world.refused(), "cannot read none.log: No such file or directory (os error 2)");
    assert_eq!(world.code(), ExitCode::from(2));
    std::fs::write(&world.args.policy, "x = 1\n").unwrap();
    assert!(replay(&world.args).unwrap_err().is::<config::Report>());
    assert_eq!(world.code(), ExitCode::from(2));
}

#[test]
fn pairs_beyond_the_bound_are_counted() {
    let mut log = String::new();
    for number in 0..PAIRS_MAX + 7 {
        let from = format!("d{number}.example");
        let rest = format!("{PEER},{PERMIT}");
        let _ = write!(log, "{}", line(1, "in", &from, "contoso.example", &rest));
    }
    let world = World::new(PARTNERS, &log);
    let tally = replay(&world.args).unwrap();
    assert_eq!(tally.differ(), PAIRS_MAX as u64 + 7);
    let reason = tally.reasons.values().next().unwrap();
    assert_eq!((reason.pairs.len(), reason.beyond), (PAIRS_MAX, 7));
    let told = show::text(&world.args, &tally);
    assert_eq!(told.matches("from a partner:").count(), 20);
    let further = format!("  further pairs of domains: {} decisions\n", PAIRS_MAX + 7 - 20);
    assert!(told.ends_with(&further), "{}", &told[told.len() - 200..]);
    let json = show::json(&world.args, &tally);
    assert_eq!(json["differences"][0]["decisions_of_further_pairs"], 7);
    assert_eq!(json["differences"][0]["difference"], "would_refuse");
    assert_eq!(json["differences"][0]["rule"], "unknown_domain");
    let first = &json["differences"][0]["pairs"][0];
    assert_eq!((&first["from"], &first["direction"]), (&"d0.example".into(), &"in".into()));
    assert_eq!(json["first"], "2026-11-21T10:01:00Z");
}
