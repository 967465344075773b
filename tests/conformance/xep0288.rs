//! XEP-0288: stanzas both ways on one stream.

use entente::xmpp::{Features, Offered, is_bidi, write_bidi};

use crate::xmpp::{element, written};

#[test]
fn s2_it_is_offered_in_one_namespace_and_asked_for_in_another() {
    let features = Features { bidi: Offered::Yes, ..Features::default() };
    element(&written(|out| features.write(out)), |element| {
        assert_eq!(Features::read(element).map(|read| read.bidi), Some(Offered::Yes));
        assert!(!is_bidi(element));
    });
    element(&written(write_bidi), |element| assert!(is_bidi(element)));
    element("<bidi xmlns='urn:xmpp:features:bidi'/>", |element| assert!(!is_bidi(element)));
}

#[test]
fn s2_1_the_request_is_an_empty_element_of_its_own_namespace() {
    assert_eq!(written(write_bidi), "<bidi xmlns='urn:xmpp:bidi'/>");
    let is = |text: &str| element(text, is_bidi);
    assert!(is("<bidi xmlns='urn:xmpp:bidi'/>"));
    assert!(!is("<bidi/>"), "the stream's own namespace is another");
}
