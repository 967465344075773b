//! Sentences for changes an operator makes.

use std::path::Path;

use super::super::start;
use super::*;
use crate::config::fixture::LEAST;

struct Made(Config, Snapshot);

fn made(text: &str) -> Made {
    let config = config::parse(Path::new("e.toml"), text).unwrap_or_else(|e| panic!("{e}"));
    let policy = start::policy(&config).unwrap();
    Made(config, policy)
}

fn between(old: &str, new: &str) -> Difference {
    let (old, new) = (made(old), made(new));
    let old = Side { config: &old.0, policy: &old.1 };
    let now = Now { unix_s: 1_800_000_000, ..Now::default() };
    difference(&old, &Side { config: &new.0, policy: &new.1 }, now)
}

/// Goes from the least configuration with `old` added to the one with `new` added.
fn told(old: &str, new: &str) -> Vec<String> {
    between(&format!("{LEAST}{old}"), &format!("{LEAST}{new}")).sentences
}

fn partner(domain: &str) -> String {
    format!("[[partner]]\ndomain = \"{domain}\"\n")
}

fn blocked(domain: &str) -> String {
    format!("[[blocked]]\ndomain = \"{domain}\"\n")
}

#[test]
fn nothing_changed_is_nothing_told() {
    assert_eq!(between(LEAST, LEAST), Difference::default());
    assert_eq!(told("", "# a comment\n"), Vec::<String>::new());
}

#[test]
fn a_listed_partner_gets_in_and_one_taken_out_is_cut_off() {
    let fabrikam = partner("fabrikam.example");
    assert_eq!(told("", &fabrikam), ["fabrikam.example gets in"]);
    let lost = ["fabrikam.example is cut off: not listed, and discovery is off"];
    assert_eq!(told(&fabrikam, ""), lost);
}

#[test]
fn order_in_the_file_is_no_change() {
    let (one, two) = (partner("fabrikam.example"), partner("tailspin.example"));
    assert_eq!(told(&format!("{one}{two}"), &format!("{two}{one}")), Vec::<String>::new());
}

#[test]
fn a_block_cuts_off_and_its_end_lets_in() {
    let open = "[federation]\ndiscovery = true\n";
    let closed = format!("{open}{}", blocked("litware.example"));
    assert_eq!(told(open, &closed), ["litware.example is cut off: blocked"]);
    assert_eq!(told(&closed, open), ["litware.example gets in"]);
    // Without discovery a domain that no list names had no way in to begin with.
    assert_eq!(told("", &blocked("litware.example")), Vec::<String>::new());
}

#[test]
fn discovery_tells_what_becomes_of_everybody() {
    let fabrikam = partner("fabrikam.example");
    let open = format!("[federation]\ndiscovery = true\n{fabrikam}");
    assert_eq!(
        told(&fabrikam, &open),
        [
            "every domain that no list names gets in as a discovered partner, if DNS names its \
             edge",
            "federation.discovery becomes true, was unset; takes hold at once",
        ]
    );
    let unlisted = "[federation]\ndiscovery = true\n";
    assert_eq!(
        told(&open, unlisted),
        ["fabrikam.example is no longer listed and stays as a discovered partner, with the \
          limits of one"]
    );
    assert_eq!(
        told(unlisted, &open),
        ["fabrikam.example is listed from then on and loses the limits of a discovered partner"]
    );
}

#[test]
fn federation_switched_off_cuts_off_every_partner() {
    let two = partner("fabrikam.example") + &partner("tailspin.example");
    assert_eq!(
        told(&two, &format!("[federation]\nenabled = false\n{two}")),
        [
            "fabrikam.example, tailspin.example are cut off: federation is switched off",
            "federation.enabled becomes false, was unset; takes hold at once",
        ]
    );
}

#[test]
fn a_changed_entry_is_told_of_a_partner_that_stays() {
    let before = partner("fabrikam.example");
    let after = format!("{before}verification = \"never\"\n");
    assert_eq!(told(&before, &after), ["fabrikam.example stays, under a changed entry"]);
}

#[test]
fn many_are_told_by_number() {
    let many: String = (0..250).map(|i| partner(&format!("p{i:03}.example"))).collect();
    let difference = between(LEAST, &format!("{LEAST}{many}"));
    assert_eq!(difference.let_in.count, 250);
    assert_eq!(
        difference.sentences,
        ["p000.example, p001.example, p002.example, p003.example, p004.example, p005.example, \
          p006.example, p007.example, p008.example, p009.example and 240 more (250 in all) get in"]
    );
}

#[test]
fn next_hops_are_told_by_what_goes_where() {
    let second = "[[next_hop]]\nname = \"director.contoso.example\"\n\
                  domains = [\"contoso.example\"]\n";
    assert_eq!(
        told("", second),
        [
            "what is for contoso.example goes to director.contoso.example instead of \
             pool.contoso.example",
            "next hop director.contoso.example is new",
        ]
    );
    assert_eq!(
        told("connections = 1\n", "connections = 2\n"),
        ["next hop pool.contoso.example has a changed entry"]
    );
}

#[test]
fn own_domains_come_and_go() {
    let two = LEAST.replace("[\"contoso.example\"]", "[\"contoso.example\", \"contoso.org\"]");
    assert_eq!(between(LEAST, &two).sentences, ["contoso.org becomes an own domain"]);
    assert_eq!(
        between(&two, LEAST).sentences,
        ["contoso.org is no own domain any more: its users are cut off"]
    );
}

#[test]
fn a_key_that_only_a_restart_changes_refuses_all_of_it() {
    let moved = LEAST.replace("192.0.2.1:5061", "192.0.2.2:5061");
    let difference = between(LEAST, &moved);
    let refused = "listener[0].address (e.toml:6)";
    assert_eq!(difference.refused_by.as_deref(), Some(refused));
    assert_eq!(
        difference.sentences,
        [
            format!("the reload would be refused: only a restart changes {refused}"),
            "listener[0].address becomes \"192.0.2.2:5061\", was \"192.0.2.1:5061\"; takes hold \
             only by a restart"
                .to_owned(),
        ]
    );
}

#[test]
fn all_domains_below_one_are_an_entry_of_their_own() {
    let below = partner("*.fabrikam.example");
    assert_eq!(told("", &below), ["*.fabrikam.example gets in"]);
    let one = format!("{below}{}", blocked("it.fabrikam.example"));
    assert_eq!(told(&below, &one), ["it.fabrikam.example is cut off: blocked"]);
}

#[test]
fn an_entry_that_has_expired_cuts_off() {
    let fabrikam = partner("fabrikam.example");
    let expired = format!("{fabrikam}expires = 2026-12-31\n");
    assert_eq!(told(&fabrikam, &expired), ["fabrikam.example is cut off: its entry has expired"]);
    let later = format!("{fabrikam}expires = 2030-12-31\n");
    assert_eq!(told(&fabrikam, &later), ["fabrikam.example stays, under a changed entry"]);
}

#[test]
fn limits_and_anchors_of_a_partner_are_terms_of_it() {
    let fabrikam = partner("fabrikam.example");
    let changed = ["fabrikam.example stays, under a changed entry"];
    assert_eq!(told(&fabrikam, &format!("{fabrikam}messages_per_s = 3\n")), changed);
    assert_eq!(told(&fabrikam, &format!("{fabrikam}distinct_users = 3\n")), changed);
    let trusting = |file: &str| format!("{fabrikam}trust = [\"{file}\"]\n");
    assert_eq!(told(&trusting("a.pem"), &trusting("b.pem")), changed);
    // Another partner's set before it changes nothing for it.
    let other = format!("{}trust = [\"c.pem\"]\n", partner("adatum.example"));
    let both = format!("{other}{}", trusting("a.pem"));
    assert_eq!(told(&trusting("a.pem"), &both), ["adatum.example gets in"]);
}

#[test]
fn a_pattern_that_comes_is_told_of_the_domains_below_it() {
    let listed = partner("it.fabrikam.example") + &partner("tailspin.example");
    let closed = format!("{listed}{}", blocked("*.fabrikam.example"));
    assert_eq!(told(&listed, &closed), ["it.fabrikam.example is cut off: blocked"]);
    assert_eq!(told(&closed, &listed), ["it.fabrikam.example gets in"]);
}

#[test]
fn a_domain_that_a_pattern_lists_too_is_still_listed() {
    let open = "[federation]\ndiscovery = true\n";
    let below = format!("{open}{}", partner("*.fabrikam.example"));
    let both = format!("{below}{}names = \"both\"\n", partner("it.fabrikam.example"));
    assert_eq!(told(&both, &below), ["it.fabrikam.example stays, under a changed entry"]);
    let same = format!("{below}{}", partner("it.fabrikam.example"));
    assert_eq!(told(&same, &below), Vec::<String>::new());
}

#[test]
fn who_loses_its_entry_goes_where_the_rest_goes() {
    let fabrikam = partner("fabrikam.example");
    let route = "[default_route]\nedge = \"clear.example.net\"\n";
    assert_eq!(
        told(&format!("{route}{fabrikam}"), route),
        ["fabrikam.example is no longer listed and goes by the default route"]
    );
    let provider = "[[provider]]\nname = \"hoster\"\nkind = \"hosting\"\n\
                    edge = \"sip.hoster.example\"\nenabled = true\n";
    assert_eq!(
        told(&format!("{provider}{fabrikam}"), provider),
        ["fabrikam.example is no longer listed and stays only if DNS names an enabled provider"]
    );
}

#[test]
fn a_list_whose_file_keeps_its_name_is_told_by_its_rows() {
    let side = |rows: &str| {
        let text = format!("{LEAST}[federation]\npartners_csv = \"partners.csv\"\n");
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("partners.csv"), rows).unwrap();
        let path = directory.path().join("e.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path).unwrap();
        let policy = start::policy(&config).unwrap();
        (config, policy)
    };
    let old = side("domain\nfabrikam.example\n");
    let new = side("domain\nfabrikam.example\ntailspin.example\n");
    let old = Side { config: &old.0, policy: &old.1 };
    let found = difference(&old, &Side { config: &new.0, policy: &new.1 }, Now::default());
    assert_eq!(found.sentences, ["tailspin.example gets in"]);
}

fn xmpp(domain: &str, terms: &str) -> String {
    format!("[[xmpp_partner]]\ndomain = \"{domain}\"\n{terms}")
}

#[test]
fn xmpp_partners_are_told_like_those_of_sip() {
    let partner = xmpp("partner.example", "additional_domains = [\"chat.partner.example\"]\n");
    let both = "chat.partner.example, partner.example";
    assert_eq!(told("", &partner), [format!("{both} get in on XMPP")]);
    assert_eq!(told(&partner, ""), [format!("{both} are cut off on XMPP: not listed")]);
    let alone = xmpp("partner.example", "");
    let lost = "chat.partner.example is cut off on XMPP: not listed";
    assert_eq!(told(&partner, &alone), [lost]);
    let stricter = xmpp("partner.example", "dialback = false\n");
    let changed = "partner.example stays an XMPP partner, under a changed entry";
    assert_eq!(told(&alone, &stricter), [changed]);
    let remarked = xmpp("partner.example", "owner = \"chat desk\"\n");
    assert_eq!(told(&alone, &remarked), Vec::<String>::new());
    let ended = xmpp("partner.example", "expires = 2020-01-01\n");
    let over = "partner.example is cut off on XMPP: its entry has expired";
    assert_eq!(told(&alone, &ended), [over]);
    let off = format!("[federation]\nenabled = false\n{alone}");
    let told = told(&alone, &off);
    assert_eq!(told[0], "partner.example is cut off on XMPP: federation is switched off");
}

/// The least configuration with the file of a pool that says this, and secrets beside it.
fn pooled(pool: &str, secret: &str) -> Made {
    let mut made = made(&format!("{LEAST}[av]\npool = \"pool.toml\"\n"));
    let read = config::pool::Pool::parse(Path::new("pool.toml"), pool, &made.0);
    made.0.pool = Some(std::sync::Arc::new(read.unwrap_or_else(|report| panic!("{report}"))));
    made.0.av_secrets = config::AvSecrets(vec![secret.as_bytes().to_vec()]);
    made
}

#[test]
fn what_a_named_file_says_of_the_pool_and_that_secrets_change_is_told() {
    let edge = |name: &str, ip: &str, more: &str| {
        format!("[[edge]]\nname = \"{name}.contoso.example\"\nrelayed = [\"{ip}\"]\n{more}")
    };
    let before = edge("edge1", "192.0.2.12", "") + &edge("edge2", "192.0.2.22", "");
    let ports = "ports = [\"3480\", \"3482\"]\nlisteners = [\"192.0.2.12:3478\"]\n";
    let after = edge("edge1", "192.0.2.12", ports) + &edge("edge3", "192.0.2.32", "");
    let told = |old: &Made, new: &Made| {
        let old = Side { config: &old.0, policy: &old.1 };
        difference(&old, &Side { config: &new.0, policy: &new.1 }, Now::default()).sentences
    };
    let old = pooled(&before, "one");
    assert_eq!(
        told(&old, &pooled(&after, "two")),
        [
            "edge1.contoso.example relays for the pool at 3480, 3482 of 192.0.2.12 with clients \
             at 192.0.2.12:3478, was at 50000-59999 of 192.0.2.12",
            "edge3.contoso.example relays for the pool, at 50000-59999 of 192.0.2.32",
            "edge2.contoso.example relays for the pool no more",
            "secrets change: those of time-limited credentials",
        ]
    );
    let remark = format!("# remarks are nothing\n{before}");
    assert_eq!(told(&old, &pooled(&remark, "one")), Vec::<String>::new());
}
