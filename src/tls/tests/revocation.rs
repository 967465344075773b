//! Fetched revocation lists: which count, what they say of a chain, and which are asked for.

use std::sync::Arc;

use rcgen::CrlScope;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::mpsc::Receiver;

use super::chains::{admit, edge};
use super::pki::{List, NOW_UNIX_S, Pair};
use super::*;
use crate::policy::RevocationState::{Good, Unknown};
use crate::policy::{ExpectedNames, PeerNames, Revocation as Demand, RevocationState};

const PLACE: &str = "http://crl.fabrikam.example/ca.crl";

fn leaf(serial: u64) -> Leaf {
    Leaf { serial, points: vec![PLACE], ..Leaf::named("sip.fabrikam.example") }
}

fn point(pair: &Pair, issuer: &Authority) -> Point {
    let one = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    Point::of_certificate(&one(&pair.chain), &one(&issuer.pem)).unwrap()
}

fn read(text: &str, point: &Point) -> Result<RevocationList, ListFault> {
    RevocationList::read(text.as_bytes(), point, &algorithms(), NOW_UNIX_S, 100)
}

/// An edge that trusts `root`, with these lists, and what it reports as lacking.
fn with_lists(
    site: &Site,
    edition: u32,
    lists: Vec<RevocationList>,
) -> (Material, Arc<Reports>, Receiver<Point>) {
    let (reports, reported) = Reports::new();
    let reports = Arc::new(reports);
    let lists = lists.into_iter().map(Arc::new).collect();
    let revocation = Revocation::new(lists, Some(Arc::clone(&reports)));
    (site.build().with_revocation(edition, Arc::new(revocation)), reports, reported)
}

/// Lets a peer in and says that it is a partner whose revocation matters.
fn admit_partner(material: &Material, theirs: &Pair) -> End {
    let mut server = admit(material, Class::Federation, theirs);
    server.session.want_lists(material.trust(), NOW_UNIX_S);
    server
}

fn state(end: &End) -> Option<RevocationState> {
    end.session.peer().map(|peer| peer.revocation)
}

#[test]
fn a_partners_chain_whose_list_is_lacking_passes_and_is_told_once() {
    let root = Authority::root("Root");
    let (material, reports, mut reported) = with_lists(&edge(&root), 1, vec![]);
    for serial in [1, 2, 3] {
        let server = admit_partner(&material, &root.leaf(&leaf(serial)));
        assert_eq!(state(&server), Some(Unknown));
    }
    let wanted = reported.try_recv().unwrap();
    assert_eq!(wanted.urls().collect::<Vec<_>>(), [PLACE]);
    assert!(wanted.issuer().text().contains("CN=Root"), "{}", wanted.issuer().text());
    assert!(reported.try_recv().is_err(), "three handshakes, one report");
    reports.hear_again(wanted.key());
    admit_partner(&material, &root.leaf(&leaf(4)));
    assert_eq!(reported.try_recv().unwrap().key(), wanted.key());
    assert_eq!((reports.unknown(), reports.dropped()), (4, 0));
}

/// Symptom: strangers could fill the table of lists, and have the edge fetch thousands, by showing
/// public chains whose keys they did not have. Cause: the judgement of a chain asked for its lists,
/// and comes before the proof of the key.
#[test]
fn nothing_is_fetched_for_a_stranger() {
    let root = Authority::root("Root");
    let (material, reports, mut reported) = with_lists(&edge(&root), 1, vec![]);
    let mut server = admit(&material, Class::Federation, &root.leaf(&leaf(1)));
    assert!(server.is_established());
    for edition in [2, 3] {
        let (next, _, mut also) = with_lists(&edge(&root), edition, vec![]);
        assert_eq!(server.session.rejudge_lists(next.trust(), NOW_UNIX_S), Ok(None));
        assert!(also.try_recv().is_err());
    }
    assert!(reported.try_recv().is_err());
    assert_eq!(reports.unknown(), 0);
}

#[test]
fn what_a_partner_lacks_is_wanted_again_until_another_configuration_decides_what_it_is() {
    let root = Authority::root("Root");
    let site = edge(&root);
    let (first, _, _reported) = with_lists(&site, 1, vec![]);
    let mut server = admit_partner(&first, &root.leaf(&leaf(1)));
    let (next, _, mut reported) = with_lists(&site, 2, vec![]);
    assert_eq!(server.session.rejudge_lists(next.trust(), NOW_UNIX_S), Ok(None));
    assert!(reported.try_recv().is_ok());
    let (other, _, mut reported) = with_lists(&site, 3, vec![]);
    assert_eq!(server.session.rejudge(other.trust(), NOW_UNIX_S), Ok(None));
    assert!(reported.try_recv().is_err());
    server.session.want_lists(other.trust(), NOW_UNIX_S);
    assert!(reported.try_recv().is_ok());
}

#[test]
fn a_listed_certificate_is_refused_and_others_of_its_issuer_are_known_to_be_good() {
    let root = Authority::root("Root");
    let wanted = point(&root.leaf(&leaf(1)), &root);
    let list = read(&root.list(&List::current(&[66, 68])), &wanted).unwrap();
    assert_eq!(list.len(), 2);
    let (material, reports, mut reported) = with_lists(&edge(&root), 1, vec![list]);
    let of = |serial| admit_partner(&material, &root.leaf(&leaf(serial)));
    assert_eq!(of(66).outcome, Err(Fault::Revoked));
    assert_eq!(state(&of(67)), Some(Good));
    assert_eq!(of(68).outcome, Err(Fault::Revoked));
    assert!(reported.try_recv().is_err(), "nothing is lacking");
    assert_eq!(reports.unknown(), 0);
}

/// Judges again in full, or where lists alone have changed.
type Again = fn(&mut Session, &Trust, u64) -> Result<Option<Arc<PeerNames>>, Fault>;

#[test]
fn an_open_leg_is_closed_or_reclassed_by_the_next_edition() {
    for again in [Session::rejudge as Again, Session::rejudge_lists] {
        let root = Authority::root("Root");
        let site = edge(&root);
        let theirs = root.leaf(&leaf(66));
        let wanted = point(&theirs, &root);
        let (before, _, _reported) = with_lists(&site, 1, vec![]);
        let mut server = admit(&before, Class::Federation, &theirs);
        let mut again =
            |material: &Material, now| again(&mut server.session, material.trust(), now);
        assert_eq!(again(&before, NOW_UNIX_S), Ok(None), "nothing changed");

        let list = |serials: &[u64]| read(&root.list(&List::current(serials)), &wanted).unwrap();
        let (good, _, _reported) = with_lists(&site, 2, vec![list(&[1])]);
        assert_ne!(good.edition(), before.edition());
        assert!(good.has_anchors_of(before.edition()));
        let names = again(&good, NOW_UNIX_S).unwrap().unwrap();
        assert_eq!(names.revocation, Good);
        assert_eq!(again(&good, NOW_UNIX_S), Ok(None));

        let after_its_end = 33_000_000_000;
        let ended = again(&good, after_its_end).unwrap().unwrap();
        assert_eq!(ended.revocation, Unknown, "a list has its time");

        let (revoked, _, _reported) = with_lists(&site, 3, vec![list(&[66])]);
        assert_eq!(again(&revoked, NOW_UNIX_S), Err(Fault::Revoked));
        let late = again(&revoked, after_its_end);
        assert_eq!(late, Err(Fault::Revoked), "what a list revoked stays revoked");
        assert_eq!(server.session.peer().unwrap().revocation, Unknown);
    }
}

#[test]
fn a_leg_through_an_intermediate_is_looked_up_by_every_certificate_of_its_path() {
    let root = Authority::root("Root");
    let middle = root.numbered_intermediate("Middle", 7, "http://crl.example/root.crl");
    // What is sent and not needed does not count.
    let stray = root.numbered_intermediate("Stray", 8, "http://crl.example/root.crl");
    let mut theirs = middle.leaf(&leaf(66));
    let end = theirs.chain.find("-----END CERTIFICATE-----\n").unwrap() + 26;
    theirs.chain.insert_str(end, &stray.pem);
    let site = edge(&root);
    let (before, _, mut reported) = with_lists(&site, 1, vec![]);
    let mut server = admit_partner(&before, &theirs);
    let of_leaf = reported.try_recv().unwrap();
    let of_middle = reported.try_recv().unwrap();
    assert!(reported.try_recv().is_err());
    let lists = |of_root: &[u64]| {
        let of_root = read(&root.list(&List::current(of_root)), &of_middle).unwrap();
        vec![read(&middle.list(&List::current(&[1])), &of_leaf).unwrap(), of_root]
    };
    let (good, _, _reported) = with_lists(&site, 2, lists(&[8]));
    let names = server.session.rejudge_lists(good.trust(), NOW_UNIX_S).unwrap().unwrap();
    assert_eq!(names.revocation, Good);
    let (revoked, _, _reported) = with_lists(&site, 3, lists(&[7]));
    let outcome = server.session.rejudge_lists(revoked.trust(), NOW_UNIX_S);
    assert_eq!(outcome, Err(Fault::Revoked), "its authority was revoked");
}

#[test]
fn of_an_authoritys_divided_lists_the_one_counts_whose_place_the_certificate_names() {
    const OTHER: &str = "http://crl.fabrikam.example/2.crl";
    let root = Authority::root("Root");
    let scoped = |url: &'static str, serials: &[u64]| {
        let wanted = point(&root.leaf(&Leaf { points: vec![url], ..leaf(1) }), &root);
        let list = List { scope: Some((url, None)), ..List::current(serials) };
        read(&root.list(&list), &wanted).unwrap()
    };
    let lists = vec![scoped(OTHER, &[66]), scoped(PLACE, &[67])];
    let (material, _, _reported) = with_lists(&edge(&root), 1, lists);
    let of = |serial| admit(&material, Class::Federation, &root.leaf(&leaf(serial)));
    assert_eq!(state(&of(66)), Some(Good));
    assert_eq!(of(67).outcome, Err(Fault::Revoked));
}

#[test]
fn every_certificate_below_the_anchor_needs_a_list_of_its_own_issuer() {
    const ABOVE: &str = "http://crl.example/root.crl";
    let root = Authority::root("Root");
    let middle = root.numbered_intermediate("Middle", 7, ABOVE);
    let theirs = middle.leaf(&leaf(66));
    let of_middle = || {
        let wanted = point(&theirs, &middle);
        read(&middle.list(&List::current(&[1])), &wanted).unwrap()
    };
    let of_root = |serials: &[u64]| {
        let own = Pair { chain: middle.pem.clone(), key: String::new() };
        read(&root.list(&List::current(serials)), &point(&own, &root)).unwrap()
    };
    let site = edge(&root);
    let judged = |lists| {
        let (material, _, mut reported) = with_lists(&site, 1, lists);
        let server = admit_partner(&material, &theirs);
        let mut urls = Vec::new();
        while let Ok(point) = reported.try_recv() {
            urls.extend(point.urls().map(str::to_owned));
        }
        (state(&server), server.outcome, urls)
    };
    let up = Ok(State::Established);
    assert_eq!(judged(vec![]), (Some(Unknown), up.clone(), vec![PLACE.into(), ABOVE.into()]));
    assert_eq!(judged(vec![of_middle()]), (Some(Unknown), up.clone(), vec![ABOVE.into()]));
    assert_eq!(judged(vec![of_middle(), of_root(&[])]), (Some(Good), up, vec![]));
    let (_, outcome, _) = judged(vec![of_middle(), of_root(&[7])]);
    assert_eq!(outcome, Err(Fault::Revoked), "its authority was revoked");
}

#[test]
fn an_authority_of_the_same_name_speaks_for_its_own_certificates_alone() {
    let (root, namesake) = (Authority::root("Root"), Authority::root("Root"));
    let wanted = point(&namesake.leaf(&leaf(1)), &namesake);
    let list = read(&namesake.list(&List::current(&[66])), &wanted).unwrap();
    let (material, _, _reported) = with_lists(&edge(&root), 1, vec![list]);
    let server = admit(&material, Class::Federation, &root.leaf(&leaf(66)));
    assert_eq!(state(&server), Some(Unknown));
}

#[test]
fn a_leg_we_open_under_hard_comes_up_only_if_the_chain_is_known_to_be_good() {
    let root = Authority::root("Root");
    let site = edge(&root);
    let theirs = root.leaf(&leaf(67));
    let wanted = point(&theirs, &root);
    let list = |serials: &[u64]| read(&root.list(&List::current(serials)), &wanted).unwrap();
    let connect = |material: &Material, revocation| {
        let names =
            ExpectedNames { revocation, ..ExpectedNames::host(domain("sip.fabrikam.example")) };
        let mut client = End::client_for(material, Class::Federation, None, &names).unwrap();
        run(&mut client, &mut Bare::accept(&theirs, None), WHOLE);
        client
    };
    let (without, _, mut reported) = with_lists(&site, 1, vec![]);
    let refused = connect(&without, Demand::Hard).outcome.unwrap_err();
    assert_eq!(refused, Fault::RevocationUnknown);
    assert_eq!(refused.connect_failure(), ConnectFailure::CertificateUntrusted);
    assert_eq!(refused.label(), "revocation_unknown");
    assert_eq!(reported.try_recv().unwrap().key(), wanted.key(), "so that it is fetched");
    assert!(connect(&without, Demand::Soft).is_established());

    let (with, _, _reported) = with_lists(&site, 2, vec![list(&[])]);
    let mut open = connect(&with, Demand::Hard);
    assert!(open.is_established());
    let again = open.session.rejudge(without.trust(), NOW_UNIX_S);
    assert_eq!(again, Err(Fault::RevocationUnknown), "closed when nobody says any more");

    let (revoking, _, _reported) = with_lists(&site, 3, vec![list(&[67])]);
    assert_eq!(connect(&revoking, Demand::Soft).outcome, Err(Fault::Revoked));
}

#[test]
fn nothing_is_fetched_for_a_leg_we_open_under_off_or_on_the_inside() {
    let root = Authority::root("Root");
    let mut site = edge(&root);
    site.plan.internal_names = vec![domain("sip.fabrikam.example")];
    let theirs = root.leaf(&leaf(66));
    let wanted = point(&theirs, &root);
    let list = read(&root.list(&List::current(&[66])), &wanted).unwrap();
    let names = ExpectedNames {
        revocation: Demand::Off,
        ..ExpectedNames::host(domain("sip.fabrikam.example"))
    };
    let connect = |material: &Material| {
        let mut client = End::client_for(material, Class::Federation, None, &names).unwrap();
        run(&mut client, &mut Bare::accept(&theirs, None), WHOLE);
        client
    };
    let (material, reports, mut reported) = with_lists(&site, 1, vec![]);
    let mut client = connect(&material);
    assert!(client.is_established());
    assert!(admit(&material, Class::Internal, &theirs).is_established());
    assert!(reported.try_recv().is_err());
    assert_eq!(reports.unknown(), 0);

    // What a list says that is there for others is heard; the inside has lists from files alone.
    let (material, _, _reported) = with_lists(&site, 2, vec![list]);
    assert_eq!(connect(&material).outcome, Err(Fault::Revoked));
    let again = client.session.rejudge_lists(material.trust(), NOW_UNIX_S);
    assert_eq!(again, Err(Fault::Revoked));
    let mut inside = admit(&material, Class::Internal, &theirs);
    assert!(inside.is_established());
    assert_eq!(inside.session.rejudge_lists(material.trust(), NOW_UNIX_S), Ok(None));
}

#[test]
fn what_a_list_revoked_stays_revoked_when_no_more_lists_are_wanted() {
    let root = Authority::root("Root");
    let theirs = root.leaf(&leaf(66));
    let list = read(&root.list(&List::current(&[66])), &point(&theirs, &root)).unwrap();
    let revocation = Revocation::new(vec![Arc::new(list)], None);
    let material = edge(&root).build().with_revocation(1, Arc::new(revocation));
    assert_eq!(admit(&material, Class::Federation, &theirs).outcome, Err(Fault::Revoked));
    let other = root.leaf(&leaf(67));
    assert!(admit_partner(&material, &other).is_established());
}

#[test]
fn a_list_from_a_file_makes_a_chain_known_while_it_is_in_force() {
    let root = Authority::root("Root");
    for (list, expected) in [(List::current(&[1]), Good), (List::default(), Unknown)] {
        let mut site = edge(&root);
        let file = site.file("root.crl", &root.list(&list));
        site.plan.crl.push(file);
        let (material, _, _reported) = with_lists(&site, 1, vec![]);
        let server = admit(&material, Class::Federation, &root.leaf(&leaf(67)));
        assert_eq!(state(&server), Some(expected));
    }
}

#[test]
fn what_is_fetched_counts_only_as_the_whole_list_of_that_issuer_in_its_time() {
    let (root, namesake, other) =
        (Authority::root("Root"), Authority::root("Root"), Authority::root("Other"));
    let wanted = point(&root.leaf(&leaf(1)), &root);
    let fault = |text: &str| read(text, &wanted).err();
    let current = root.list(&List::current(&[1]));
    assert_eq!(fault(&current), None);
    assert_eq!(fault("<html>Not Found</html>"), Some(ListFault::NotAList));
    assert_eq!(fault(""), Some(ListFault::NotAList));
    assert_eq!(fault(&root.pem), Some(ListFault::NotAList));
    let of_other = other.list(&List::current(&[]));
    assert_eq!(fault(&of_other), Some(ListFault::OtherIssuer));
    let of_namesake = namesake.list(&List::current(&[]));
    assert_eq!(fault(&of_namesake), Some(ListFault::BadSignature));
    assert_eq!(fault(&root.list(&List::default())), Some(ListFault::OutOfDate));
    let ahead = List { this_update: (2999, 1), ..List::current(&[]) };
    assert_eq!(fault(&root.list(&ahead)), Some(ListFault::NotYetValid));
    let elsewhere = List { scope: Some(("http://x.example/2.crl", None)), ..List::current(&[]) };
    assert_eq!(fault(&root.list(&elsewhere)), Some(ListFault::OtherScope));
    let here = List { scope: Some((PLACE, None)), ..List::current(&[]) };
    assert_eq!(fault(&root.list(&here)), None);
    let many: Vec<u64> = (1..=101).collect();
    assert_eq!(fault(&root.list(&List::current(&many))), Some(ListFault::TooLong));
}

#[test]
fn der_and_pem_are_the_same_list_and_any_byte_changed_makes_it_none() {
    let root = Authority::root("Root");
    let wanted = point(&root.leaf(&leaf(1)), &root);
    let pem = root.list(&List::current(&[66]));
    let der = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes());
    let der = der.unwrap().as_ref().to_vec();
    let read = |bytes: &[u8]| RevocationList::read(bytes, &wanted, &algorithms(), NOW_UNIX_S, 100);
    let (one, two) = (read(pem.as_bytes()).unwrap(), read(&der).unwrap());
    assert!(one.is_same(&two) && !one.is_older_than(&two));
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1;
        assert!(read(&changed).is_err(), "byte {at}");
        assert!(read(&der[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_list_for_authorities_only_does_not_make_a_peer_good() {
    let root = Authority::root("Root");
    let wanted = point(&root.leaf(&leaf(1)), &root);
    for (scope, expected) in
        [(CrlScope::CaCertsOnly, Some(Unknown)), (CrlScope::UserCertsOnly, Some(Good))]
    {
        let list = List { scope: Some((PLACE, Some(scope))), ..List::current(&[]) };
        let list = read(&root.list(&list), &wanted).unwrap();
        let (material, _, _reported) = with_lists(&edge(&root), 1, vec![list]);
        let server = admit(&material, Class::Federation, &root.leaf(&leaf(67)));
        assert_eq!(state(&server), expected);
    }
}

#[test]
fn places_other_than_http_are_named_but_not_asked() {
    let root = Authority::root("Root");
    let points = vec!["ldap://dc.fabrikam.example/cn=ca", PLACE, "https://crl.example/ca.crl"];
    let wanted = point(&root.leaf(&Leaf { points, ..leaf(1) }), &root);
    assert_eq!(wanted.urls().collect::<Vec<_>>(), [PLACE]);
    assert_eq!(wanted.named().len(), 3);
}
