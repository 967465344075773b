//! Renders readings of the catalogue in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::catalogue::{self, Kind, Series};

/// Label values of one line, in the order of the series' label names.
type Values = Vec<String>;

/// Holds the last reading of every line and renders them.
///
/// Lines never expire: the recorder loses what is written through a handle after its line has
/// expired, and the number of lines is bounded by the catalogue's closed labels.
pub struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    counters: BTreeMap<(&'static str, Values), Counter>,
    gauges: BTreeMap<(&'static str, Values), Gauge>,
    histograms: BTreeMap<&'static str, BTreeMap<Values, Buckets>>,
}

/// One line family of a histogram: how many fell into each bucket, and the sum of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Not cumulative; one more than the series has bounds, for what is above the last.
    pub counts: Vec<u64>,
    /// In the unit of the series.
    pub sum: f64,
}

static METADATA: Metadata<'static> = Metadata::new("entente", Level::INFO, None);

impl Exporter {
    /// Describes the whole catalogue.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for series in catalogue::ALL {
            let name = KeyName::from_const_str(series.name);
            let help = SharedString::const_str(series.help);
            match series.kind {
                Kind::Counter => recorder.describe_counter(name, None::<Unit>, help),
                Kind::Gauge => recorder.describe_gauge(name, None::<Unit>, help),
                Kind::Histogram(_) => {}
            }
        }
        let handle = recorder.handle();
        Self {
            recorder,
            handle,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// Sets a counter to the total `value`, which does not fall.
    pub fn count(&mut self, series: &Series, labels: &[&str], value: u64) {
        assert!(matches!(series.kind, Kind::Counter), "{} is a counter", series.name);
        let recorder = &self.recorder;
        self.counters
            .entry((series.name, values(series, labels)))
            .or_insert_with(|| recorder.register_counter(&key(series, labels), &METADATA))
            .absolute(value);
    }

    /// Sets a gauge.
    pub fn gauge(&mut self, series: &Series, labels: &[&str], value: f64) {
        assert!(matches!(series.kind, Kind::Gauge), "{} is a gauge", series.name);
        let recorder = &self.recorder;
        self.gauges
            .entry((series.name, values(series, labels)))
            .or_insert_with(|| recorder.register_gauge(&key(series, labels), &METADATA))
            .set(value);
    }

    /// Sets a histogram to the totals `buckets`.
    pub fn histogram(&mut self, series: &Series, labels: &[&str], buckets: Buckets) {
        let Kind::Histogram(bounds) = series.kind else {
            panic!("{} is a histogram", series.name);
        };
        assert_eq!(buckets.counts.len(), bounds.len() + 1, "{} has its buckets", series.name);
        let lines = self.histograms.entry(series.name).or_default();
        lines.insert(values(series, labels), buckets);
    }

    /// Returns everything in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        // The recorder builds histograms from single samples; ours arrive counted.
        for series in catalogue::ALL {
            let Kind::Histogram(bounds) = series.kind else { continue };
            let Some(lines) = self.histograms.get(series.name) else { continue };
            let _ = writeln!(text, "# HELP {} {}", series.name, series.help);
            let _ = writeln!(text, "# TYPE {} histogram", series.name);
            for (values, buckets) in lines {
                write_histogram(&mut text, series, bounds, values, buckets);
            }
            text.push('\n');
        }
        text
    }
}

impl Default for Exporter {
    fn default() -> Self {
        Self::new()
    }
}

fn values(series: &Series, labels: &[&str]) -> Values {
    assert_eq!(series.labels.len(), labels.len(), "{} has its labels", series.name);
    labels.iter().map(|&value| value.to_owned()).collect()
}

fn key(series: &Series, labels: &[&str]) -> Key {
    let labels = series
        .labels
        .iter()
        .zip(labels)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect::<Vec<_>>();
    Key::from_parts(series.name, labels)
}

fn write_histogram(
    text: &mut String,
    series: &Series,
    bounds: &[f64],
    values: &[String],
    buckets: &Buckets,
) {
    let mut labels = String::new();
    for (name, value) in series.labels.iter().zip(values) {
        // Label values are words of closed sets; they hold nothing that would need escaping.
        let _ = write!(labels, "{name}=\"{value}\",");
    }
    let mut total = 0_u64;
    for (index, count) in buckets.counts.iter().enumerate() {
        total = total.saturating_add(*count);
        let bound = bounds.get(index).map_or("+Inf".to_owned(), f64::to_string);
        let _ = writeln!(text, "{}_bucket{{{labels}le=\"{bound}\"}} {total}", series.name);
    }
    let labels = labels.trim_end_matches(',');
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "{}_sum{braces} {}", series.name, buckets.sum);
    let _ = writeln!(text, "{}_count{braces} {total}", series.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_rendered_with_its_help_and_labels() {
        let mut exporter = Exporter::new();
        exporter.count(&catalogue::RELOADS, &["accepted"], 3);
        exporter.count(&catalogue::RELOADS, &["accepted"], 4);
        let text = exporter.render();
        assert!(text.contains("# TYPE entente_control_reloads_total counter"), "{text}");
        assert!(text.contains("entente_control_reloads_total{result=\"accepted\"} 4"), "{text}");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_infinity() {
        let mut exporter = Exporter::new();
        let Kind::Histogram(bounds) = catalogue::REQUEST_SECONDS.kind else { unreachable!() };
        let counts = vec![1; bounds.len() + 1];
        let buckets = Buckets { counts, sum: 2.5 };
        exporter.histogram(&catalogue::REQUEST_SECONDS, &["in"], buckets);
        let text = exporter.render();
        let total = bounds.len() + 1;
        let last = format!("_bucket{{direction=\"in\",le=\"+Inf\"}} {total}\n");
        assert!(text.contains(&last), "{text}");
        assert!(text.contains("_sum{direction=\"in\"} 2.5\n"), "{text}");
        assert!(text.contains(&format!("_count{{direction=\"in\"}} {total}\n")), "{text}");
    }
}
