//! Prints what happened, for people or for machines.

use std::io::{Write, stderr, stdout};
use std::path::Path;

use serde_json::{Value, json};

use super::act::ACTS;
use super::ladder::{Paint, Tone};
use super::media::Voices;
use super::story::{Decision, Step};
use crate::edge::Severity;

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Ladders.
    Text(Paint),
    /// One object a line.
    Json,
}

/// Whether somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// On a terminal: one line, written over.
    Shown,
    /// Nowhere.
    None,
}

/// Writes to standard output, and its progress to standard error.
pub(super) struct Reporter {
    format: Format,
    progress: Progress,
}

impl Reporter {
    /// Makes a reporter.
    pub(super) const fn new(format: Format, progress: Progress) -> Self {
        Self { format, progress }
    }

    /// Shows what is being done.
    pub(super) fn progress(&self, what: &str) {
        if self.progress == Progress::Shown {
            // A terminal that cannot be written to shows no progress, and that is all.
            let _ = write!(stderr(), "\r\x1b[2K{what} ...");
            let _ = stderr().flush();
        }
    }

    /// Clears the progress line.
    pub(super) fn progress_done(&self) {
        if self.progress == Progress::Shown {
            let _ = write!(stderr(), "\r\x1b[2K");
            let _ = stderr().flush();
        }
    }

    /// Prints a step.
    pub(super) fn step(&self, number: usize, step: &Step) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Text(paint) => step_text(number, step, paint),
            Format::Json => format!("{}\n", step_json(number, step)),
        };
        self.print(&text)
    }

    /// Prints how it went in all; `failed`: the numbers of the steps that went wrong.
    pub(super) fn summary(&self, failed: &[usize], took_ms: u64) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Json => {
                let (steps, ok) = (ACTS.len(), failed.is_empty());
                let summary = json!({
                    "summary": true, "ok": ok, "steps": steps, "failed": failed, "ms": took_ms,
                });
                format!("{summary}\n")
            }
            Format::Text(paint) => summary_text(failed, took_ms, paint),
        };
        self.print(&text)
    }

    /// Prints where to look while the edges go on serving.
    pub(super) fn serving(&self, metrics: &[String], files: &Path) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Json => {
                format!("{}\n", json!({ "serving": true, "metrics": metrics, "files": files }))
            }
            Format::Text(_) => {
                let mut text = "\nBoth edges go on serving until Ctrl-C.\n".to_owned();
                for url in metrics {
                    text += &format!("  metrics  {url}\n");
                }
                text + &format!("  files    {}\n", files.display())
            }
        };
        self.print(&text)
    }

    fn print(&self, text: &str) -> anyhow::Result<()> {
        self.progress_done();
        let mut out = stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

fn summary_text(failed: &[usize], took_ms: u64, paint: Paint) -> String {
    let steps = ACTS.len();
    let verdict = if failed.is_empty() {
        paint.paint(Tone::Good, &format!("All {steps} steps did what they should"))
    } else {
        let numbers: Vec<_> = failed.iter().map(usize::to_string).collect();
        let which = numbers.join(", ");
        paint.paint(Tone::Bad, &format!("{} of {steps} steps failed: {which}", failed.len()))
    };
    format!("{verdict} ({}).\n", seconds(took_ms))
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}

fn step_text(number: usize, step: &Step, paint: Paint) -> String {
    let heading = format!("{number}. {}", step.act.title());
    let mut lines = vec![paint.paint(Tone::Strong, &heading), String::new()];
    lines.extend(step.act.columns().draw(&step.arrows, paint));
    for (decision, times) in counted(&step.decisions) {
        let times = if times == 1 { String::new() } else { format!(" (x{times})") };
        let tone = if is_refusal(decision) { Tone::Bad } else { Tone::Faint };
        let text = format!("{}{times}", decision.sentence);
        lines.push(format!("   {:14} {}", decision.edge, paint.paint(tone, &text)));
    }
    lines.extend(step.voices.as_ref().map(|voices| format!("   RTP            {}", heard(voices))));
    lines.push(match &step.outcome {
        Ok(()) => {
            let ok = paint.paint(Tone::Good, "ok");
            format!("   {ok}: {} ({} ms)", step.act.expectation(), step.took_ms)
        }
        Err(error) => {
            let failed = paint.paint(Tone::Bad, "FAILED");
            format!("   {failed}: {error:#}\n   expected: {}", step.act.expectation())
        }
    });
    lines.push(String::new());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Says what became of media.
fn heard(voices: &Voices) -> String {
    let (sent, received) = (voices.sent, voices.received());
    let (percent, tenths) = (voices.lost_permille() / 10, voices.lost_permille() % 10);
    let mut text = format!("{sent} packets sent, {received} heard, {percent}.{tenths} % lost");
    if let (Some(p50), Some(p99)) = (voices.delay_us(50), voices.delay_us(99)) {
        text += &format!("; delay p50 {}, p99 {}", milliseconds(p50), milliseconds(p99));
    }
    text
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1_000, microseconds % 1_000)
}

/// Puts what an edge said several times into one line.
fn counted(decisions: &[Decision]) -> Vec<(&Decision, usize)> {
    let mut counted: Vec<(&Decision, usize)> = Vec::new();
    for decision in decisions {
        let same =
            |have: &Decision| have.edge == decision.edge && have.sentence == decision.sentence;
        match counted.iter_mut().find(|(have, _)| same(have)) {
            Some((_, times)) => *times += 1,
            None => counted.push((decision, 1)),
        }
    }
    counted
}

/// A refusal is what an operator would see without asking for explanations.
fn is_refusal(decision: &Decision) -> bool {
    decision.severity >= Severity::Info && decision.decision_id != 0
}

fn step_json(number: usize, step: &Step) -> Value {
    let columns = step.act.columns();
    let title = |column: usize| columns.0[column].title.as_str();
    let messages = step.arrows.iter().map(|arrow| {
        let passed: Vec<_> = match arrow.from < arrow.to {
            true => (arrow.from + 1..arrow.to).map(title).collect(),
            false => (arrow.to + 1..arrow.from).rev().map(title).collect(),
        };
        json!({
            "from": title(arrow.from), "passed": passed, "to": title(arrow.to), "what": arrow.what,
        })
    });
    let decisions = step.decisions.iter().map(|decision| {
        json!({
            "edge": decision.edge,
            "sentence": decision.sentence,
            "decision_id": decision.decision_id,
        })
    });
    json!({
        "step": number,
        "title": step.act.title(),
        "expected": step.act.expectation(),
        "ok": step.outcome.is_ok(),
        "failure": step.outcome.as_ref().err().map(|error| format!("{error:#}")),
        "ms": step.took_ms,
        "media": step.voices.as_ref().map(media_json),
        "messages": messages.collect::<Vec<_>>(),
        "decisions": decisions.collect::<Vec<_>>(),
    })
}

fn media_json(voices: &Voices) -> Value {
    json!({
        "packets_sent": voices.sent,
        "packets_heard": voices.received(),
        "delay_p50_us": voices.delay_us(50),
        "delay_p99_us": voices.delay_us(99),
    })
}

#[cfg(test)]
mod tests {
    use super::super::act::{Act, CONTOSO_EDGE};
    use super::*;

    fn step(outcome: anyhow::Result<()>) -> Step {
        let decision = Decision {
            edge: CONTOSO_EDGE,
            sentence: "permitted: allowed partner domain fabrikam.example".to_owned(),
            severity: Severity::Debug,
            decision_id: 0,
        };
        let decisions = vec![decision.clone(), decision];
        Step { act: Act::Bye, outcome, arrows: Vec::new(), decisions, took_ms: 3, voices: None }
    }

    #[test]
    fn a_failed_step_says_what_was_expected() {
        let step = step(Err(anyhow::anyhow!("expected 200 to BYE, got 481 Gone")));
        let text = step_text(10, &step, Paint::Plain);
        assert!(text.starts_with("10. bob leaves the conversation\n"), "{text}");
        assert!(text.contains("FAILED: expected 200 to BYE, got 481 Gone\n   expected: the req"));
        assert!(text.contains("contoso edge   permitted: allowed partner domain"), "{text}");
        assert!(text.contains("fabrikam.example (x2)\n"), "said twice, printed once: {text}");
        let json = step_json(10, &step);
        assert_eq!(json["ok"], false);
        assert_eq!(json["failure"], "expected 200 to BYE, got 481 Gone");
        assert_eq!(json["decisions"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn the_summary_names_the_steps_that_failed() {
        let text = summary_text(&[2, 10], 1234, Paint::Plain);
        assert_eq!(text, "2 of 24 steps failed: 2, 10 (1.23 s).\n");
        let text = summary_text(&[], 90, Paint::Plain);
        assert_eq!(text, "All 24 steps did what they should (0.09 s).\n");
    }

    #[test]
    fn plain_text_has_no_escape_sequence_and_colour_has() {
        assert!(!step_text(1, &step(Ok(())), Paint::Plain).contains('\x1b'));
        assert!(step_text(1, &step(Ok(())), Paint::Colour).contains("\x1b[32mok\x1b[0m"));
    }
}
