//! What a run has done, a line for each thing: shown where one seed is looked at, and compared.

use std::fmt::Write as _;

#[derive(Debug)]
pub(crate) struct Trace {
    text: String,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self { text: String::new(), print }
    }

    pub(crate) fn note(&mut self, now_ms: u64, line: &str) {
        if self.print {
            println!("{now_ms:>8} {line}");
        }
        let _ = writeln!(self.text, "{now_ms} {line}");
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}
