//! Edits on the full example and on small files; nothing else of the file may move.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::fixture::LEAST;

fn domain(name: &str) -> Pattern {
    config::read_pattern(name).unwrap()
}

fn host(name: &str) -> Domain {
    config::read_domain(name).unwrap()
}

fn addition(name: &str) -> Addition {
    Addition { domain: domain(name), terms: Terms::Sip { edge: None, port: None } }
}

fn file(text: &str) -> PolicyFile {
    let config = config::parse(Path::new("e.toml"), text).unwrap_or_else(|e| panic!("{e}"));
    PolicyFile { config }
}

/// The full example without the files beside it.
fn full() -> String {
    let text = include_str!("../../../tests/fixtures/configs/full.toml");
    let beside = ["secrets = ", "partners_csv = ", "blocked_csv = ", "file = "];
    let alone = |line: &&str| !beside.iter().any(|key| line.starts_with(key));
    // The relay cannot be without its secrets.
    let (before, relay) = text.split_once("# The A/V Edge").unwrap();
    let (_, after) = relay.split_once("[addresses]").unwrap();
    let (before, asking) = before.split_once("# Servers inside that ask for credentials").unwrap();
    let (_, between) = asking.split_once("# The XMPP gateway, over").unwrap();
    let text = format!("{before}# The XMPP gateway, over{between}[addresses]{after}");
    text.lines().filter(alone).map(|line| format!("{line}\n")).collect()
}

fn after(text: &str, edit: &Edit) -> String {
    file(text).edit(edit).unwrap_or_else(|error| panic!("{error:#}")).text().to_owned()
}

fn refused(text: &str, edit: &Edit) -> String {
    file(text).edit(edit).unwrap_err().to_string()
}

#[test]
fn a_partner_is_added_after_the_last_one_and_nothing_else_moves() {
    let text = full();
    let edited = after(&text, &Edit::Add(addition("wingtip.example")));
    let written = "\n[[partner]]\ndomain = \"wingtip.example\"\n";
    let expected = text.replace(
        "domain = \"*.adatum.example\"\n\n[[blocked]]",
        &format!("domain = \"*.adatum.example\"\n{written}\n[[blocked]]"),
    );
    assert_eq!(edited, expected);
    let back = after(&edited, &Edit::Remove(domain("wingtip.example"), Side::Sip));
    assert_eq!(back, text, "taken out again, it is as it was");
}

#[test]
fn the_first_partner_is_added_at_the_end() {
    let (edge, port) = (Some(host("sip.fabrikam.example")), Some(5062));
    let terms = Terms::Sip { edge, port };
    let server = Addition { terms, ..addition("fabrikam.example") };
    let edited = after(LEAST, &Edit::Add(server));
    let written = "\n[[partner]]\ndomain = \"fabrikam.example\"\nkind = \"allowed_server\"\n\
                   edge = \"sip.fabrikam.example\"\nport = 5062\n";
    assert_eq!(edited, format!("{LEAST}{written}"));
    let without_newline = LEAST.trim_end();
    let edited = after(without_newline, &Edit::Add(addition("fabrikam.example")));
    assert_eq!(edited, format!("{LEAST}\n[[partner]]\ndomain = \"fabrikam.example\"\n"));
}

#[test]
fn an_entry_goes_with_its_comment_and_no_other() {
    let text = format!(
        "{LEAST}\n# Partners.\n\n# Bob's.\n[[partner]]\n# by ticket 7\n\
         domain = \"fabrikam.example\" # theirs\nnames = \"both\" # as agreed\n\n\
         # Eve's.\n[[partner]]\ndomain = \"tailspin.example\"\n"
    );
    let edited = file(&text).edit(&Edit::Remove(domain("fabrikam.example"), Side::Sip)).unwrap();
    let expected =
        format!("{LEAST}\n# Partners.\n\n# Eve's.\n[[partner]]\ndomain = \"tailspin.example\"\n");
    assert_eq!(edited.text(), expected);
    assert_eq!(
        edited.done,
        ["taken out (e.toml:17):\n  # Bob's.\n  [[partner]]\n  # by ticket 7\n  domain = \
          \"fabrikam.example\" # theirs\n  names = \"both\" # as agreed"]
    );
}

#[test]
fn blocking_replaces_the_partner_entry_and_allowing_replaces_it_back() {
    let text = format!("{LEAST}\n[[partner]]\ndomain = \"fabrikam.example\"\n");
    let blocked = after(&text, &Edit::Block(domain("fabrikam.example")));
    assert_eq!(blocked, format!("{LEAST}\n[[blocked]]\ndomain = \"fabrikam.example\"\n"));
    let allowed = after(&blocked, &Edit::Allow(addition("fabrikam.example")));
    assert_eq!(allowed, text);
}

#[test]
fn partners_on_xmpp_are_edited_apart_from_those_on_sip() {
    let on_xmpp = |name: &str, kind| Addition { domain: domain(name), terms: Terms::Xmpp { kind } };
    let sip = format!("{LEAST}\n[[partner]]\ndomain = \"fabrikam.example\"\n");
    let addition = on_xmpp("fabrikam.example", Some(XmppKind::Federated));
    let both = after(&sip, &Edit::Add(addition.clone()));
    let section = "\n[[xmpp_partner]]\ndomain = \"fabrikam.example\"\nkind = \"federated\"\n";
    assert_eq!(both, format!("{sip}{section}"));
    let place = format!("e.toml:{}", sip.lines().count() + 2);
    let twice = refused(&both, &Edit::Add(addition));
    assert_eq!(twice, format!("fabrikam.example is listed already ({place})"));
    let fabrikam = || domain("fabrikam.example");
    assert_eq!(after(&both, &Edit::Remove(fabrikam(), Side::Xmpp)), sip);
    assert_eq!(after(&both, &Edit::Remove(fabrikam(), Side::Sip)), format!("{LEAST}{section}"));
    let blocked = after(&both, &Edit::Block(fabrikam()));
    assert_eq!(blocked, format!("{LEAST}\n[[blocked]]\ndomain = \"fabrikam.example\"\n"));
    let allowed = after(&blocked, &Edit::Allow(on_xmpp("fabrikam.example", None)));
    assert_eq!(allowed, format!("{LEAST}\n[[xmpp_partner]]\ndomain = \"fabrikam.example\"\n"));
    let below = refused(&sip, &Edit::Add(on_xmpp("*.fabrikam.example", None)));
    assert!(below.contains("fabrikam.example"), "{below}");
}

#[test]
fn what_is_done_already_is_refused_with_its_place() {
    let text = full();
    let place = |of: &str| text.lines().position(|line| line.contains(of)).unwrap();
    let (partner, blocked) = (place("\"fabrikam.example\""), place("\"litware.example\""));
    let cases = [
        (
            Edit::Add(addition("fabrikam.example")),
            format!("fabrikam.example is listed already (e.toml:{partner})"),
        ),
        (
            Edit::Allow(addition("fabrikam.example")),
            format!("fabrikam.example is listed already (e.toml:{partner})"),
        ),
        (
            Edit::Add(addition("litware.example")),
            format!(
                "litware.example is blocked (e.toml:{blocked}); `entente ctl partner allow \
                 litware.example` ends that"
            ),
        ),
        (
            Edit::Block(domain("litware.example")),
            format!("litware.example is blocked already (e.toml:{blocked})"),
        ),
        (
            Edit::Remove(domain("wingtip.example"), Side::Sip),
            "wingtip.example is not listed in e.toml".to_owned(),
        ),
    ];
    for (edit, sentence) in cases {
        assert_eq!(refused(&text, &edit), sentence);
    }
}

#[test]
fn a_domain_below_a_blocked_name_is_not_listed_in_vain() {
    let text = format!(
        "{LEAST}[[blocked]]\ndomain = \"*.fabrikam.example\"\n\
         [[blocked]]\ndomain = \"it.fabrikam.example\"\n"
    );
    let stays = "it.fabrikam.example would stay blocked by *.fabrikam.example (e.toml:13); narrow \
                 that entry first";
    assert_eq!(refused(&text, &Edit::Allow(addition("it.fabrikam.example"))), stays);
    let other = refused(&text, &Edit::Add(addition("hr.fabrikam.example")));
    assert_eq!(other, stays.replace("it.fab", "hr.fab"));
}

#[test]
fn what_the_reader_refuses_is_not_written() {
    let own = refused(LEAST, &Edit::Add(addition("contoso.example")));
    assert!(own.contains("contoso.example is an own domain"), "{own}");
    let blocked = refused(LEAST, &Edit::Block(domain("contoso.example")));
    assert!(blocked.contains("contoso.example is an own domain"), "{blocked}");
}

#[test]
fn an_entry_that_is_no_section_of_its_own_is_left_to_an_editor() {
    let text = format!("partner = [{{ domain = \"fabrikam.example\" }}]\n{LEAST}");
    assert_eq!(
        refused(&text, &Edit::Remove(domain("fabrikam.example"), Side::Sip)),
        "it is listed at e.toml:1, which is no [[partner]] section of e.toml"
    );
}

#[test]
fn the_file_is_written_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entente.toml");
    std::fs::write(&path, LEAST).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = directory.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();

    let edit = Edit::Add(addition("fabrikam.example"));
    let edited = PolicyFile::read(&link).unwrap().edit(&edit).unwrap();
    edited.write().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), edited.text());
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left behind");

    let late = edited.write().unwrap_err().to_string();
    assert!(late.ends_with("was changed by somebody else meanwhile; nothing was written"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), edited.text());
}

#[test]
fn an_edit_waits_for_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entente.toml");
    std::fs::write(&path, LEAST).unwrap();
    let edits: Vec<_> = (0..8)
        .map(|number| {
            let path = path.clone();
            std::thread::spawn(move || {
                let edit = Edit::Add(addition(&format!("p{number}.example")));
                // Whoever comes too late reads again, as an operator would.
                (0..50)
                    .any(|_| PolicyFile::read(&path).unwrap().edit(&edit).unwrap().write().is_ok())
            })
        })
        .collect();
    assert!(edits.into_iter().all(|edit| edit.join().unwrap()));
    assert_eq!(PolicyFile::read(&path).unwrap().config().partners.len(), 8, "none is lost");
}

#[test]
fn the_socket_is_found_in_a_file_that_is_broken_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entente.toml");
    std::fs::write(&path, "[management]\nsocket = \"admin.sock\"\n[edge]\nbroken = \n").unwrap();
    assert_eq!(socket_in(&path), Some(directory.path().join("admin.sock")));
    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(socket_in(&path), None);
}
