//! What operators take over as it is must name series that exist: every metric of the dashboard and
//! of the rules is looked up in the catalogue, with its labels.

use std::collections::BTreeSet;
use std::path::Path;

use entente::metrics::catalogue::{self, Kind, Series};

/// Labels that Prometheus or the format adds, and `pool`, which scrape.yml adds.
const OF_THE_SCRAPER: [&str; 4] = ["instance", "job", "pool", "le"];

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// A selector as found in a PromQL text: the metric and the labels asked of it in braces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Selector {
    metric: String,
    labels: Vec<String>,
}

/// Returns every `entente_...` and `process_...` selector of `text`; JSON's escapes are undone.
fn selectors(text: &str) -> BTreeSet<Selector> {
    let text = text.replace("\\\"", "\"");
    let mut found = BTreeSet::new();
    for prefix in ["entente_", "process_"] {
        for (at, _) in text.match_indices(prefix) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '/' | '.')) {
                continue;
            }
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let rest = &text[at..];
            let metric: String = rest.chars().take_while(|c| word(*c)).collect();
            let braces = rest[metric.len()..].strip_prefix('{').and_then(|r| r.split('}').next());
            let labels = braces.unwrap_or_default().split(',').filter_map(|part| {
                let name: String = part.trim().chars().take_while(|c| word(*c)).collect();
                (!name.is_empty()).then_some(name)
            });
            found.insert(Selector { labels: labels.collect(), metric });
        }
    }
    found
}

/// Whether `series` is shown under `metric`: a histogram has three names.
fn exposes(series: &Series, metric: &str) -> bool {
    let suffixes: &[&str] = match series.kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"],
        Kind::Counter | Kind::Gauge => &[""],
    };
    metric.strip_prefix(&*series.name).is_some_and(|suffix| suffixes.contains(&suffix))
}

fn unknown(selectors: &BTreeSet<Selector>, series: &[Series]) -> Vec<String> {
    let mut wrong = Vec::new();
    for selector in selectors {
        let Some(known) = series.iter().find(|known| exposes(known, &selector.metric)) else {
            wrong.push(format!("{} is not in the catalogue", selector.metric));
            continue;
        };
        for label in &selector.labels {
            let has = known.labels.contains(&label.as_str());
            if !has && !OF_THE_SCRAPER.contains(&label.as_str()) {
                wrong.push(format!("{} has no label {label}", selector.metric));
            }
        }
    }
    wrong
}

#[test]
fn every_series_of_the_rules_is_in_the_catalogue() {
    let series = catalogue::all();
    for name in ["prometheus/rules.yml", "prometheus/rules_test.yml"] {
        let found = selectors(&file(name));
        assert!(found.len() > 10, "{name}: only {} selectors were found", found.len());
        assert_eq!(unknown(&found, &series), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_series_of_the_dashboard_is_in_the_catalogue() {
    let found = selectors(&file("grafana/dashboard.json"));
    assert!(found.len() > 30, "only {} selectors were found", found.len());
    assert_eq!(unknown(&found, &catalogue::all()), Vec::<String>::new());
}

#[test]
fn every_recorded_series_of_the_dashboard_is_recorded() {
    let rules = file("prometheus/rules.yml");
    let dashboard = file("grafana/dashboard.json");
    let mut seen = 0;
    for (at, _) in dashboard.match_indices("entente:") {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let name: String = dashboard[at..].chars().take_while(|c| part(*c)).collect();
        // The title begins with the product's name and a colon.
        if name.len() > "entente:".len() {
            assert!(rules.contains(&format!("record: {name}\n")), "{name} is recorded nowhere");
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} recorded series were found");
}

#[test]
fn the_dashboard_is_json_with_distinct_panels() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("grafana/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "panels share an id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = &panel["title"];
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} asks for nothing");
    }
}

#[test]
fn every_alert_says_what_to_do() {
    let rules = file("prometheus/rules.yml");
    let count = |needle: &str| rules.matches(needle).count();
    assert!(count("- alert: ") > 10, "the rules hold few alerts");
    for needle in ["severity: ", "summary: ", "action: "] {
        assert_eq!(count(needle), count("- alert: "), "an alert lacks its {needle}");
    }
}

#[test]
fn every_knob_is_explained_in_the_readme() {
    let readme = file("README.md");
    for (name, is_key) in [("sysctl.d/60-entente.conf", '='), ("systemd/entente.service", '=')] {
        for line in file(name).lines() {
            let Some((key, _)) = line.split_once(is_key) else { continue };
            if key.starts_with('#') || key.contains(' ') && name.starts_with("systemd") {
                continue;
            }
            assert!(readme.contains(key.trim()), "README.md does not mention {}", key.trim());
        }
    }
}

#[test]
fn an_unknown_series_and_an_unknown_label_are_found() {
    let series = catalogue::all();
    let text = r#"rate(entente_access_nothing_total{pool=~"p"}[5m])
        + entente_control_stage{colour="red",instance="e1"} + entente:requests:rate5m"#;
    let wrong = unknown(&selectors(text), &series);
    assert_eq!(
        wrong,
        [
            "entente_access_nothing_total is not in the catalogue",
            "entente_control_stage has no label colour",
        ]
    );
}
