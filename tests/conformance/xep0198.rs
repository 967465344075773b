//! XEP-0198: stream management, as far as it acknowledges.

use entente::xmpp::{Management, ManagementFault, acknowledged};

use crate::xmpp::{element, written};

#[test]
fn s3_and_s4_every_element_is_written_and_read() {
    for management in [
        Management::Enable,
        Management::Enabled,
        Management::Failed,
        Management::Request,
        Management::Answer { handled: 0 },
        Management::Answer { handled: u32::MAX },
        Management::Resume,
    ] {
        element(&written(|out| management.write(out)), |element| {
            assert_eq!(Management::read(element), Some(Ok(management)));
        });
    }
}

#[test]
fn s4_an_answer_without_a_count_is_a_fault() {
    for h in ["", "h=''", "h='-1'", "h='x'", "h='4294967296'"] {
        element(&format!("<a xmlns='urn:xmpp:sm:3' {h}/>"), |element| {
            assert_eq!(Management::read(element), Some(Err(ManagementFault)), "{h}");
        });
    }
    element("<a xmlns='urn:xmpp:sm:2' h='1'/>", |element| {
        assert_eq!(Management::read(element), None);
    });
}

#[test]
fn s4_the_count_wraps_and_never_exceeds_what_was_sent() {
    assert_eq!(acknowledged(5, 8, 3), Some(3));
    assert_eq!(acknowledged(5, 5, 3), Some(0));
    assert_eq!(acknowledged(u32::MAX, 1, 2), Some(2));
    assert_eq!(acknowledged(5, 9, 3), None);
    assert_eq!(acknowledged(5, 4, 3), None);
}
