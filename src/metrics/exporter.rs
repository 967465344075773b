//! Renders readings of the catalogue in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::catalogue::{self, Kind, Series};

/// Name and label values of one line.
type Line = (String, Vec<String>);

/// Holds the last reading of every line and renders them.
///
/// Lines never expire: the recorder loses what is written through a handle after its line has
/// expired, and the number of lines is bounded by the catalogue's closed labels.
pub struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    lines: BTreeMap<Line, Cell>,
    /// Lines that were told and are not any more, with how they begin in the text.
    withheld: BTreeMap<Line, String>,
    histograms: BTreeMap<String, Histogram>,
}

/// A histogram series with its lines by their label value.
struct Histogram {
    help: &'static str,
    label: &'static str,
    lines: BTreeMap<String, Buckets>,
}

/// One line of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Upper bounds, in the unit of the series, growing.
    pub bounds: Vec<f64>,
    /// Not cumulative; one more than there are bounds.
    pub counts: Vec<u64>,
    /// In the unit of the series.
    pub sum: f64,
}

enum Cell {
    Counter(Counter),
    Gauge(Gauge),
}

static METADATA: Metadata<'static> = Metadata::new("entente", Level::INFO, None);

impl Exporter {
    /// Describes the whole catalogue.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for series in catalogue::all() {
            let name = KeyName::from(series.name.into_owned());
            let help = SharedString::const_str(series.help);
            match series.kind {
                Kind::Counter => recorder.describe_counter(name, None::<Unit>, help),
                Kind::Gauge => recorder.describe_gauge(name, None::<Unit>, help),
                // Written by ourselves, with its help.
                Kind::Histogram => {}
            }
        }
        Self {
            handle: recorder.handle(),
            recorder,
            lines: BTreeMap::new(),
            withheld: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// Sets a line to `value`: the level of a gauge, or a counter's total, which does not fall.
    pub fn set(&mut self, series: &Series, labels: &[&str], value: u64) {
        assert_eq!(series.labels.len(), labels.len(), "{} has its labels", series.name);
        let line = line(series, labels);
        self.withheld.remove(&line);
        let recorder = &self.recorder;
        let cell = self.lines.entry(line).or_insert_with(|| {
            let key = key(series, labels);
            match series.kind {
                Kind::Counter => Cell::Counter(recorder.register_counter(&key, &METADATA)),
                Kind::Gauge => Cell::Gauge(recorder.register_gauge(&key, &METADATA)),
                Kind::Histogram => panic!("{} is set by its buckets", series.name),
            }
        });
        match cell {
            Cell::Counter(counter) => counter.absolute(value),
            #[allow(clippy::cast_precision_loss, reason = "the format has no integers")]
            Cell::Gauge(gauge) => gauge.set(value as f64),
        }
    }

    /// Tells nothing of a line until it is set again: there is nothing that its value would be.
    pub fn withhold(&mut self, series: &Series, labels: &[&str]) {
        let line = line(series, labels);
        if self.lines.contains_key(&line) {
            let named = series.labels.iter().zip(labels);
            let named: Vec<String> =
                named.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let begin = match named.join(",") {
                none if none.is_empty() => format!("{} ", series.name),
                labels => format!("{}{{{labels}}} ", series.name),
            };
            self.withheld.insert(line, begin);
        }
    }

    /// Sets the line of a histogram with one label to the totals `buckets`.
    pub fn set_buckets(&mut self, series: &Series, label: &str, buckets: Buckets) {
        assert_eq!(series.kind, Kind::Histogram, "{} is a histogram", series.name);
        assert_eq!(buckets.counts.len(), buckets.bounds.len() + 1, "a count for each bucket");
        let name = series.labels.first().copied().unwrap_or_default();
        let empty = || Histogram { help: series.help, label: name, lines: BTreeMap::new() };
        let histogram = self.histograms.entry(series.name.to_string()).or_insert_with(empty);
        histogram.lines.insert(label.to_owned(), buckets);
    }

    /// Returns everything in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        if !self.withheld.is_empty() {
            let told =
                |line: &&str| !self.withheld.values().any(|begin| line.starts_with(begin.as_str()));
            text = text.split_inclusive('\n').filter(told).collect();
        }
        // The recorder builds histograms of single samples; ours arrive counted.
        for (name, histogram) in &self.histograms {
            let _ = writeln!(text, "# HELP {name} {}", histogram.help);
            let _ = writeln!(text, "# TYPE {name} histogram");
            for (value, buckets) in &histogram.lines {
                // Label values are words of closed sets; nothing in them needs escaping.
                write_buckets(
                    &mut text,
                    name,
                    &format!("{}=\"{value}\"", histogram.label),
                    buckets,
                );
            }
        }
        text
    }
}

fn line(series: &Series, labels: &[&str]) -> Line {
    (series.name.to_string(), labels.iter().map(|&value| value.to_owned()).collect())
}

impl Default for Exporter {
    fn default() -> Self {
        Self::new()
    }
}

fn write_buckets(text: &mut String, name: &str, label: &str, buckets: &Buckets) {
    let mut total = 0_u64;
    for (place, count) in buckets.counts.iter().enumerate() {
        total = total.saturating_add(*count);
        let bound = buckets.bounds.get(place).map_or_else(|| "+Inf".to_owned(), f64::to_string);
        let _ = writeln!(text, "{name}_bucket{{{label},le=\"{bound}\"}} {total}");
    }
    let _ = writeln!(text, "{name}_sum{{{label}}} {}", buckets.sum);
    let _ = writeln!(text, "{name}_count{{{label}}} {total}");
}

fn key(series: &Series, labels: &[&str]) -> Key {
    let labels = series
        .labels
        .iter()
        .zip(labels)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect::<Vec<_>>();
    Key::from_parts(series.name.to_string(), labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_rendered_with_its_help_and_labels() {
        let mut exporter = Exporter::new();
        exporter.set(&catalogue::RELOADS, &["accepted"], 3);
        exporter.set(&catalogue::RELOADS, &["accepted"], 4);
        let text = exporter.render();
        assert!(text.contains("# TYPE entente_control_reloads_total counter"), "{text}");
        assert!(text.contains("# HELP entente_control_reloads_total Reloads of"), "{text}");
        assert!(text.contains("entente_control_reloads_total{result=\"accepted\"} 4"), "{text}");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_infinity() {
        let mut exporter = Exporter::new();
        let buckets = Buckets { bounds: vec![0.001, 0.01], counts: vec![3, 0, 2], sum: 2.5 };
        exporter.set_buckets(&catalogue::REQUEST_SECONDS, "inside_to_partner", buckets);
        let text = exporter.render();
        let expected = "\
# TYPE entente_access_request_seconds histogram
entente_access_request_seconds_bucket{crossing=\"inside_to_partner\",le=\"0.001\"} 3
entente_access_request_seconds_bucket{crossing=\"inside_to_partner\",le=\"0.01\"} 3
entente_access_request_seconds_bucket{crossing=\"inside_to_partner\",le=\"+Inf\"} 5
entente_access_request_seconds_sum{crossing=\"inside_to_partner\"} 2.5
entente_access_request_seconds_count{crossing=\"inside_to_partner\"} 5
";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_gauge_may_fall() {
        let mut exporter = Exporter::new();
        exporter.set(&catalogue::EPOCH, &[], 7);
        exporter.set(&catalogue::EPOCH, &[], 2);
        assert!(exporter.render().contains("\nentente_control_config_epoch 2\n"));
    }

    #[test]
    fn what_is_withheld_is_told_again_once_it_is_set() {
        let mut exporter = Exporter::new();
        let line = "\nentente_relay_runs_out_seconds{what=\"ports\"} 40\n";
        exporter.withhold(&catalogue::RELAY_RUNS_OUT, &["ports"]);
        assert!(!exporter.render().contains("_runs_out_seconds{"), "it never was");
        for what in ["ports", "allocations"] {
            exporter.set(&catalogue::RELAY_RUNS_OUT, &[what], 40);
        }
        exporter.set(&catalogue::RELAY_FREE_PORTS, &[], 9);
        assert!(exporter.render().contains(line));
        exporter.withhold(&catalogue::RELAY_RUNS_OUT, &["ports"]);
        exporter.withhold(&catalogue::RELAY_FREE_PORTS, &[]);
        let text = exporter.render();
        assert!(!text.contains("what=\"ports\""), "{text}");
        assert!(!text.contains("\nentente_relay_free_ports "), "{text}");
        assert!(text.contains("\nentente_relay_runs_out_seconds{what=\"allocations\"} 40\n"));
        exporter.set(&catalogue::RELAY_RUNS_OUT, &["ports"], 40);
        assert!(exporter.render().contains(line));
    }
}
