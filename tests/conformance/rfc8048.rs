//! RFC 8048: presence between XMPP and SIP, and what Lync makes of it.

use entente::edge::gateway::translate::pidf::{
    read, read_categories, read_priority, resource_of, tuple_id, write, write_priority,
};
use entente::edge::gateway::translate::presence::{Availability, Notes, Presence, Show, aggregate};
use entente::edge::gateway::translate::subscription::{
    SubscribeFailed, SubscriptionState, Termination,
};
use entente::edge::gateway::translate::{Loss, Losses, document};
use entente::limits;
use entente::policy::XmppKind;
use entente::xmpp::{Jid, Node};
use proptest::prelude::*;

fn stanza(text: &str) -> Node {
    document::read(text.replacen("<presence", "<presence xmlns='jabber:server'", 1).as_bytes())
        .unwrap()
}

fn open(resource: &str, show: Show, priority: u8) -> Presence {
    Presence {
        resource: Some(resource.to_owned()),
        availability: Availability::Open(show),
        note: None,
        language: None,
        priority: Some(priority),
    }
}

#[test]
fn s5_2_a_stanza_becomes_a_document() {
    let presence = Presence::of_stanza(&stanza(
        "<presence from='juliet@example.com/balcony' xml:lang='en'><show>away</show>\
         <status>Retired to the chamber</status><priority>126</priority></presence>",
    ));
    let presence = presence.unwrap();
    assert_eq!(presence.losses, Losses::NONE);
    let document = write("sip:juliet@example.com", &[presence.value], Notes::Shown);
    assert_eq!(
        String::from_utf8(document.value).unwrap(),
        "<?xml version='1.0' encoding='UTF-8'?>\r\n\
         <presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:juliet@example.com'>\
         <tuple id='ID-balcony'><status><basic>open</basic><show xmlns='jabber:client'>away</show>\
         <activities xmlns='urn:ietf:params:xml:ns:pidf:status:rpid-status'>\
         <activity>away</activity></activities></status>\
         <contact priority='0.992'>sip:juliet@example.com</contact>\
         <note xml:lang='en'>Retired to the chamber</note></tuple>\
         <person xmlns='urn:ietf:params:xml:ns:pidf:data-model' id='p1'>\
         <activities xmlns='urn:ietf:params:xml:ns:pidf:rpid'><away/></activities></person>\
             </presence>"
    );
}

#[test]
fn s5_3_a_document_becomes_stanzas() {
    let body = b"<?xml version='1.0' encoding='UTF-8'?>\
        <presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.net'>\
        <tuple id='ID-orchard'><status><basic>open</basic><show xmlns='jabber:client'>dnd</show>\
            </status>\
        <contact priority='0.5'>sip:romeo@example.net</contact><note xml:lang='en'>Wooing</note>\
            </tuple>\
        <tuple id='desk'><status><basic>closed</basic></status></tuple></presence>";
    let read = read(body).unwrap();
    assert_eq!((read.losses, read.value.len()), (Losses::NONE, 2));
    let from = Jid::parse("romeo@example.net").unwrap();
    let to = Jid::parse("juliet@example.com").unwrap();
    let text = |presence: &Presence, notes| {
        let mut out = Vec::new();
        let node = presence.to_stanza(&from, &to, notes);
        node.value.write(&mut out);
        (String::from_utf8(out).unwrap(), node.losses)
    };
    let (shown, losses) = text(&read.value[0], Notes::Shown);
    assert_eq!(losses, Losses::NONE);
    assert_eq!(
        shown,
        "<presence from='romeo@example.net/orchard' to='juliet@example.com' xml:lang='en'>\
         <show>dnd</show><status>Wooing</status><priority>64</priority></presence>"
    );
    let (closed, _) = text(&read.value[1], Notes::Shown);
    let expected =
        "<presence from='romeo@example.net/desk' to='juliet@example.com' type='unavailable'/>";
    assert_eq!(closed, expected);
    let (withheld, losses) = text(&read.value[0], Notes::Withheld);
    assert!(!withheld.contains("Wooing") && losses.has(Loss::Note));
}

#[test]
fn lync_7_4_only_federated_partners_see_notes() {
    assert_eq!(Notes::of(XmppKind::Federated), Notes::Shown);
    assert_eq!(Notes::of(XmppKind::PublicVerified), Notes::Withheld);
    let presence = Presence { note: Some("secret".to_owned()), ..open("a", Show::Busy, 1) };
    let document = write("sip:a@x.example", &[presence], Notes::Withheld);
    assert!(!String::from_utf8(document.value).unwrap().contains("secret"));
    assert!(document.losses.has(Loss::Note));
}

#[test]
fn s5_2_priorities_have_three_decimals_and_come_back() {
    assert_eq!(write_priority(0), "0.000");
    assert_eq!(write_priority(1), "0.008");
    assert_eq!(write_priority(2), "0.016");
    assert_eq!(write_priority(126), "0.992");
    assert_eq!(write_priority(127), "1.000");
    for priority in 0..=127 {
        assert_eq!(read_priority(&write_priority(priority)), Some(priority));
    }
    assert_eq!(
        (read_priority("1"), read_priority("0"), read_priority(".5")),
        (Some(127), Some(0), Some(64))
    );
    for none in ["", ".", "-1", "2", "1.001", "x", "0.5x", "1e1"] {
        assert_eq!(read_priority(none), None, "{none}");
    }
    let negative =
        Presence::of_stanza(&stanza("<presence><priority>-1</priority></presence>")).unwrap();
    assert!(negative.losses.has(Loss::Priority) && negative.value.priority.is_none());
}

#[test]
fn s5_2_every_show_has_its_element_and_comes_back() {
    for show in Show::ALL {
        let presence = open("r", show, 5);
        let document = write("sip:a@x.example", std::slice::from_ref(&presence), Notes::Shown);
        assert_eq!(
            read(&document.value).unwrap().value,
            std::slice::from_ref(&presence),
            "{show:?}"
        );
        let jid = Jid::parse("a@x.example").unwrap();
        let node = presence.to_stanza(&jid, &jid, Notes::Shown).value;
        assert_eq!(Presence::of_stanza(&node).unwrap().value, presence);
    }
    let closed = Presence::closed(Some("r".to_owned()));
    let document = write("sip:a@x.example", std::slice::from_ref(&closed), Notes::Shown);
    assert_eq!(read(&document.value).unwrap().value, [closed]);
    let nobody = write("sip:a@x.example", &[], Notes::Shown).value;
    assert_eq!(read(&nobody).unwrap().value, [Presence::closed(None)]);
    let odd = Presence::of_stanza(&stanza("<presence><show>invisible</show></presence>")).unwrap();
    assert!(odd.losses.has(Loss::Show));
    assert_eq!(odd.value.availability, Availability::Open(Show::Available));
}

#[test]
fn s4_what_is_about_subscriptions_is_no_presence() {
    for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"] {
        assert_eq!(Presence::of_stanza(&stanza(&format!("<presence type='{kind}'/>"))), None);
    }
}

#[test]
fn rfc4480_activities_of_persons_and_drafts_are_read() {
    let with = |status: &str, rest: &str| {
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' \
             xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' \
             xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' \
             xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
             entity='pres:a@x.example'><tuple id='0'><status><basic>open</basic>{status}</status>\
                 </tuple>{rest}</presence>"
        );
        read(body.as_bytes()).unwrap().value.remove(0)
    };
    let lcs = "<ep:activities><ep:activity>on-the-phone</ep:activity></ep:activities>";
    assert_eq!(with(lcs, "").availability, Availability::Open(Show::Busy));
    let person = "<dm:person id='p'><r:activities><r:vacation/></r:activities>\
        <dm:note>Gone fishing</dm:note></dm:person>";
    let presence = with("", person);
    assert_eq!(presence.availability, Availability::Open(Show::ExtendedAway));
    assert_eq!(presence.note.as_deref(), Some("Gone fishing"));
    assert_eq!(with("", "<note>all</note>").note.as_deref(), Some("all"));
    // What XMPP itself says is nearer than a translation of it.
    let both = format!("<show xmlns='jabber:client'>chat</show>{lcs}");
    assert_eq!(with(&both, "").availability, Availability::Open(Show::Chat));
}

#[test]
fn lync_availability_is_read_at_the_edges_of_each_range_and_comes_back() {
    let rows = [
        (0, Availability::Open(Show::Available)),
        (4_499, Availability::Open(Show::Available)),
        (4_500, Availability::Open(Show::Away)),
        (5_999, Availability::Open(Show::Away)),
        (6_000, Availability::Open(Show::Busy)),
        (8_999, Availability::Open(Show::Busy)),
        (9_000, Availability::Open(Show::Busy)),
        (11_999, Availability::Open(Show::Busy)),
        (12_000, Availability::Open(Show::Away)),
        (14_999, Availability::Open(Show::Away)),
        (15_000, Availability::Open(Show::Away)),
        (17_999, Availability::Open(Show::Away)),
        (18_000, Availability::Closed),
        (u32::MAX, Availability::Closed),
    ];
    for (number, availability) in rows {
        assert_eq!(Availability::of_lync(number), availability, "{number}");
        assert_eq!(Availability::of_lync(availability.lync()), availability);
    }
    assert_eq!(Availability::Open(Show::ExtendedAway).lync(), 15_500);
}

#[test]
fn lync_categories_give_one_presence() {
    let body = b"\
        <categories xmlns='http://schemas.microsoft.com/2006/09/sip/categories' \
        uri='sip:a@x.example'>\
        <category name='state' instance='1'>\
            <state xmlns='http://schemas.microsoft.com/2006/09/sip/state'>\
        <availability>3500</availability></state></category>\
        <category name='state' instance='2'>\
            <state xmlns='http://schemas.microsoft.com/2006/09/sip/state'>\
        <availability>6500</availability></state></category>\
        <category name='state' instance='3'>\
            <state xmlns='http://schemas.microsoft.com/2006/09/sip/state'>\
        <availability>18500</availability></state></category>\
        <category name='note'><note xmlns='http://schemas.microsoft.com/2006/09/sip/note'>\
        <body type='personal'>At lunch</body></note></category></categories>";
    let presence = read_categories(body).unwrap().value;
    assert_eq!(presence.availability, Availability::Open(Show::Busy));
    assert_eq!(presence.note.as_deref(), Some("At lunch"));
    assert_eq!(read_categories(b"<categories/>"), None);
}

#[test]
fn of_several_resources_the_preferred_one_stands_for_the_user() {
    let closed = Presence::closed(Some("off".to_owned()));
    let all = [
        closed.clone(),
        open("a", Show::Away, 5),
        open("b", Show::Chat, 5),
        open("c", Show::Busy, 9),
    ];
    assert_eq!(aggregate(&all), Some(&all[3]));
    assert_eq!(aggregate(&all[..3]), Some(&all[2]));
    assert_eq!(aggregate(&all[..1]), Some(&closed));
    assert_eq!(aggregate(&[]), None);
    let same = [open("x", Show::Away, 5), open("y", Show::Away, 5)];
    assert_eq!(aggregate(&same), Some(&same[0]));
}

#[test]
fn documents_that_are_none_or_too_large_are_refused_and_tuples_bounded() {
    for none in [
        "",
        "<presence/>",
        "x",
        "<!DOCTYPE presence><presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
    ] {
        assert_eq!(read(none.as_bytes()), None, "{none}");
    }
    assert_eq!(read(&vec![b' '; limits::GATEWAY_BODY_BYTES_MAX + 1]), None);
    let many: Vec<_> = (0..100).map(|n| open(&n.to_string(), Show::Away, 1)).collect();
    let document = write("sip:a@x.example", &many, Notes::Shown);
    assert!(document.losses.has(Loss::Resource));
    assert_eq!(read(&document.value).unwrap().value.len(), limits::GATEWAY_RESOURCES_MAX);
    let tuple = "<tuple id='x'><status><basic>open</basic></status></tuple>".repeat(100);
    let body = format!("<presence xmlns='urn:ietf:params:xml:ns:pidf'>{tuple}</presence>");
    let read = read(body.as_bytes()).unwrap();
    assert!(read.losses.has(Loss::Resource));
}

proptest! {
    #[test]
    fn s5_2_a_resource_is_an_id_of_xml_and_comes_back(resource in "[ -~ü€😀]{1,40}") {
        let id = tuple_id(&resource);
        prop_assert!(id.starts_with("ID-"));
        prop_assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)));
        prop_assert_eq!(resource_of(&id), Some(resource));
    }

    #[test]
    fn what_is_written_is_read_whatever_is_in_it(
        resource in "\\PC{1,20}", note in "\\PC{0,40}", priority in 0_u8..128,
    ) {
        let presence = Presence { note: Some(note), ..open(&resource, Show::Away, priority) };
        let document = write("sip:a@x.example", &[presence], Notes::Shown).value;
        let back = read(&document).expect("well formed").value;
        prop_assert_eq!(back[0].resource.as_deref(), Some(&*resource));
        prop_assert_eq!(back[0].priority, Some(priority));
    }
}

#[test]
fn rfc6665_s4_1_3_reasons_say_what_to_do() {
    let rows: [(&str, Option<SubscriptionState>); 14] = [
        ("active;expires=3600", Some(SubscriptionState::Active { expires_s: Some(3600) })),
        ("Active", Some(SubscriptionState::Active { expires_s: None })),
        ("pending;expires=1", Some(SubscriptionState::Pending)),
        ("terminated", Some(SubscriptionState::Terminated(Termination::Resubscribe))),
        (
            "terminated;reason=deactivated",
            Some(SubscriptionState::Terminated(Termination::Resubscribe)),
        ),
        (
            "terminated;reason=timeout",
            Some(SubscriptionState::Terminated(Termination::Resubscribe)),
        ),
        ("terminated;reason=other", Some(SubscriptionState::Terminated(Termination::Resubscribe))),
        (
            "terminated;reason=probation;retry-after=60",
            Some(SubscriptionState::Terminated(Termination::ResubscribeLater {
                retry_after_s: Some(60),
            })),
        ),
        (
            "terminated ; reason=giveup",
            Some(SubscriptionState::Terminated(Termination::ResubscribeLater {
                retry_after_s: None,
            })),
        ),
        ("terminated;reason=Rejected", Some(SubscriptionState::Terminated(Termination::Rejected))),
        (
            "terminated;reason=noresource",
            Some(SubscriptionState::Terminated(Termination::NoResource)),
        ),
        (
            "terminated;reason=invariant",
            Some(SubscriptionState::Terminated(Termination::NoResource)),
        ),
        ("waiting", None),
        ("", None),
    ];
    for (value, state) in rows {
        assert_eq!(SubscriptionState::read(value.as_bytes()), state, "{value}");
    }
    assert!(Termination::Rejected.is_for_good() && Termination::NoResource.is_for_good());
    assert!(!Termination::Resubscribe.is_for_good());
}

#[test]
fn s4_2_2_a_refused_subscribe_ends_the_authorisation_or_does_not() {
    for status in [403, 489, 603] {
        assert_eq!(SubscribeFailed::of_status(status), SubscribeFailed::ForGood);
    }
    for status in [423, 481] {
        assert_eq!(SubscribeFailed::of_status(status), SubscribeFailed::TryAgain);
    }
    for status in [408, 480, 500, 503] {
        assert_eq!(SubscribeFailed::of_status(status), SubscribeFailed::Later);
    }
}
