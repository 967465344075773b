//! Replays the fuzz corpora through their targets in the ordinary test run, each input as it is,
//! cut short, and with bytes changed by a fixed sequence, so that a failure can be repeated.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "src/lib.rs"]
#[expect(unreachable_pub, reason = "the same file is the library of the fuzz crate")]
mod targets;

/// Changed copies of each input.
const MUTATIONS: u32 = 400;

/// The inputs in `folders`, those of each in the order of their names.
fn corpus(folders: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut inputs = Vec::new();
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(&folder).expect("every target has a corpus");
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        inputs.extend(paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())));
    }
    inputs
}

/// A sequence that is the same in every run (xorshift).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound.max(1)
    }
}

/// Bytes that mean something to one grammar or another.
const TELLING: &[u8] = b"\r\n\t :;,<>\"@?=%[]\\/.0919zZ\0\x7f\x80\xff";

/// Changes up to four places: another byte, one less, one more, or a piece of another input.
fn mutate(input: &[u8], other: &[u8], sequence: &mut Sequence) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=sequence.below(4) {
        let at = sequence.below(bytes.len() + 1);
        let telling = TELLING[sequence.below(TELLING.len())];
        match sequence.below(5) {
            0 if at < bytes.len() => bytes[at] = telling,
            1 if at < bytes.len() => bytes[at] ^= 1 << sequence.below(8),
            2 if at < bytes.len() => {
                let until = (at + 1 + sequence.below(8)).min(bytes.len());
                bytes.drain(at..until);
            }
            3 => {
                let from = sequence.below(other.len() + 1);
                let until = (from + sequence.below(64)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            _ => bytes.insert(at.min(bytes.len()), telling),
        }
    }
    bytes
}

fn replay(folders: &[&str], target: fn(&[u8])) {
    let corpus = corpus(folders);
    assert!(corpus.len() >= 5, "{folders:?} have but {} inputs", corpus.len());
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    for (path, input) in &corpus {
        // Shown by the test harness if the target fails.
        println!("{}", path.display());
        target(input);
        for cut in 0..input.len().min(2048) {
            target(&input[..cut]);
        }
        for _ in 0..MUTATIONS {
            let (_, other) = &corpus[sequence.below(corpus.len())];
            let changed = mutate(input, other, &mut sequence);
            println!("{}", changed.escape_ascii());
            target(&changed);
        }
    }
}

#[test]
fn framing_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/framing"], targets::framing);
}

#[test]
fn uri_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/uri"], targets::uri);
}

#[test]
fn via_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/via"], targets::via);
}

#[test]
fn proxy_header_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/proxy_header"], targets::proxy_header);
}

#[test]
fn xmpp_stream_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/xmpp_stream"], targets::xmpp_stream);
}

#[test]
fn translator_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/translator"], targets::translator);
}

#[test]
fn turn_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/turn"], targets::turn);
}

#[test]
fn ms_turn_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/ms_turn"], targets::ms_turn);
}

#[test]
fn relay_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/relay"], targets::relay);
}

#[test]
fn gateway_holds_for_its_corpus() {
    replay(&["tests/fuzz/corpus/gateway"], targets::gateway);
}

#[test]
fn config_holds_for_its_corpus() {
    // The examples are inputs as they stand; a copy would fall behind the keys there are.
    replay(&["tests/fuzz/corpus/config", "tests/fixtures/configs"], targets::config);
}
