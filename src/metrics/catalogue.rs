//! Every series, declared once: the exporter describes them from here, and so does the
//! documentation.
//!
//! Names are `entente_<part>_<noun>_<unit>_total`; labels take words of closed sets.

use std::fmt::Write as _;

/// What kind of number a series is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many fell below each of these bounds.
    Histogram(&'static [f64]),
}

/// One series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series {
    /// Its name in the exposition.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// What is counted, in the plural.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
}

macro_rules! catalogue {
    ($(
        $(#[doc = $help:literal])+
        $constant:ident: $kind:expr, $name:literal, $unit:literal, [$($label:literal),*];
    )+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: Series = Series {
                name: $name,
                kind: $kind,
                unit: $unit,
                help: trimmed(concat!($($help),+)),
                labels: &[$($label),*],
            };
        )+
        /// All series, in the order of the documentation.
        pub const ALL: &[Series] = &[$($constant),+];
    };
}

/// Drops the space a doc comment begins with.
const fn trimmed(text: &'static str) -> &'static str {
    text.trim_ascii()
}

/// Bounds of latencies in seconds, from a loopback forward to Timer F.
pub const SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 32.0];

catalogue! {
    /// Reloads of the configuration by result: accepted or refused.
    RELOADS: Kind::Counter, "entente_control_reloads_total", "reloads", ["result"];
    /// Time from a request to its final response as the edge saw them.
    REQUEST_SECONDS: Kind::Histogram(SECONDS), "entente_access_request_seconds", "seconds",
        ["direction"];
}

/// Returns the catalogue as a Markdown table.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n| name | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for series in ALL {
        let kind = match series.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels = if series.labels.is_empty() { "-".into() } else { series.labels.join(", ") };
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {} | {labels} | {} |",
            series.name, series.unit, series.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_follows_the_convention() {
        let mut names = BTreeSet::new();
        for series in ALL {
            assert!(names.insert(series.name), "{} is declared twice", series.name);
            assert!(series.name.starts_with("entente_"), "{}", series.name);
            let counter = series.kind == Kind::Counter;
            assert_eq!(series.name.ends_with("_total"), counter, "{}", series.name);
            assert!(series.help.ends_with('.') && !series.help.contains('\n'), "{}", series.name);
        }
    }

    #[test]
    fn the_reference_has_a_row_for_every_series() {
        assert_eq!(reference().lines().count(), 4 + ALL.len());
    }
}
