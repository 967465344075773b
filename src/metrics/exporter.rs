//! Renders readings of the catalogue in the Prometheus text format.

use std::collections::BTreeMap;

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
            }
        }
        Self { handle: recorder.handle(), recorder, lines: BTreeMap::new() }
    }

    /// Sets a line to `value`: the level of a gauge, or the total of a counter, which does not fall.
    pub fn set(&mut self, series: &Series, labels: &[&str], value: u64) {
        assert_eq!(series.labels.len(), labels.len(), "{} has its labels", series.name);
        let values = labels.iter().map(|&value| value.to_owned()).collect();
        let recorder = &self.recorder;
        let cell = self.lines.entry((series.name.to_string(), values)).or_insert_with(|| {
            let key = key(series, labels);
            match series.kind {
                Kind::Counter => Cell::Counter(recorder.register_counter(&key, &METADATA)),
                Kind::Gauge => Cell::Gauge(recorder.register_gauge(&key, &METADATA)),
            }
        });
        match cell {
            Cell::Counter(counter) => counter.absolute(value),
            #[allow(clippy::cast_precision_loss, reason = "the format has no integers")]
            Cell::Gauge(gauge) => gauge.set(value as f64),
        }
    }

    /// Returns everything in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

impl Default for Exporter {
    fn default() -> Self {
        Self::new()
    }
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
    fn a_gauge_may_fall() {
        let mut exporter = Exporter::new();
        exporter.set(&catalogue::EPOCH, &[], 7);
        exporter.set(&catalogue::EPOCH, &[], 2);
        assert!(exporter.render().contains("\nentente_control_config_epoch 2\n"));
    }
}
