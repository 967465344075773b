//! What is wrong with a configuration, said like a compiler: file, line, caret, suggestion.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Problems told of one file; the rest is told by number.
const PROBLEMS_TOLD_MAX: usize = 20;

/// A stable name for a kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The file cannot be read at all.
    Unreadable,
    /// The text is not TOML.
    Syntax,
    /// A key or section that does not exist.
    UnknownKey,
    /// A key or section that must be there is not.
    MissingKey,
    /// A value of another type.
    WrongType,
    /// A value outside its range, or one of no known choice.
    OutOfRange,
    /// A text that is no domain name, address, network or secret.
    Malformed,
    /// Two values that cannot both hold.
    Contradiction,
}

impl Code {
    /// Returns the name as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "config-unreadable",
            Self::Syntax => "config-syntax",
            Self::UnknownKey => "config-unknown-key",
            Self::MissingKey => "config-missing-key",
            Self::WrongType => "config-wrong-type",
            Self::OutOfRange => "config-out-of-range",
            Self::Malformed => "config-malformed",
            Self::Contradiction => "config-contradiction",
        }
    }
}

/// One thing wrong, with the place it is written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// A sentence without a full stop.
    pub message: String,
    /// Bytes of the file that are wrong; `None` when the whole file is.
    pub span: Option<Range<usize>>,
    /// What stands under the caret.
    pub label: String,
    /// Another place that matters, with its own words.
    pub context: Option<(Range<usize>, String)>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// Names a problem at `span`; `label` stands under the caret.
    #[must_use]
    pub fn new(
        code: Code,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), span, label: label.into(), context: None, help: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that matters, if it is known.
    #[must_use]
    pub fn beside(mut self, span: Option<Range<usize>>, label: impl Into<String>) -> Self {
        self.context = span.map(|span| (span, label.into()));
        self
    }
}

/// The text a configuration was read from, with the place of every value in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it was read from.
    pub path: PathBuf,
    /// The text.
    pub text: String,
    /// Bytes of each value by its path, such as `listener[0].address`.
    pub places: BTreeMap<String, Range<usize>>,
}

impl Source {
    /// Returns where the value at `key` is written; the nearest section around it if it is not.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<Range<usize>> {
        let mut key = key;
        loop {
            if let Some(span) = self.places.get(key) {
                return Some(span.clone());
            }
            // The path is shortened by a step each time, so the walk ends.
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    /// Returns whether the file says anything at `key` itself.
    #[must_use]
    pub fn says(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Returns `file:line` of the value at `key`, or the file alone.
    #[must_use]
    pub fn whereabouts(&self, key: &str) -> String {
        match self.place(key) {
            Some(span) => format!("{}:{}", self.path.display(), self.line_and_column(span.start).0),
            None => self.path.display().to_string(),
        }
    }

    /// Returns line and column, both from 1, of a byte of the text.
    #[must_use]
    pub fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        (line, column)
    }
}

/// Whether a terminal reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// No escape sequences.
    Plain,
    /// Colours.
    Styled,
}

/// Why a configuration was refused: everything that is wrong with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    source: Source,
    problems: Vec<Problem>,
}

impl Report {
    /// Puts problems in the order of the file. `problems` holds at least one.
    #[must_use]
    pub fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "a report tells at least one problem");
        problems.sort_by_key(|problem| {
            (problem.span.as_ref().map_or(usize::MAX, |span| span.start), problem.code)
        });
        problems.dedup();
        Self { source, problems }
    }

    /// Reports that `path` could not be read.
    #[must_use]
    pub fn unreadable(path: &Path, why: &std::io::Error) -> Self {
        let source = Source { path: path.to_owned(), ..Source::default() };
        let message = format!("cannot read {}: {why}", path.display());
        Self::new(source, vec![Problem::new(Code::Unreadable, None, message, "")])
    }

    /// Says which key names the file, and where, with what is wrong with the file as a whole.
    #[must_use]
    pub fn named_by(mut self, key: &str, place: &str) -> Self {
        let named = format!("{key} names it ({place})");
        for problem in self.problems.iter_mut().filter(|problem| problem.span.is_none()) {
            problem.help = match problem.help.take() {
                Some(help) => Some(format!("{help}; {named}")),
                None => Some(named.clone()),
            };
        }
        self
    }

    /// Returns what is wrong, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the text that was read.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Returns `file:line` of one of its problems, or the file alone.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> String {
        let path = self.source.path.display();
        match &problem.span {
            Some(span) => format!("{path}:{}", self.source.line_and_column(span.start).0),
            None => path.to_string(),
        }
    }

    /// Prints the problems like a compiler.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let renderer = match paint {
            Paint::Plain => Renderer::plain(),
            Paint::Styled => Renderer::styled(),
        };
        let mut text = String::new();
        for problem in self.problems.iter().take(PROBLEMS_TOLD_MAX) {
            text.push_str(&renderer.render(&[self.group(problem)]));
            text.push_str("\n\n");
        }
        let path = self.source.path.display();
        let many = match self.problems.len() {
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        let more = self.problems.len().saturating_sub(PROBLEMS_TOLD_MAX);
        let shown = if more > 0 { format!(", {more} not shown") } else { String::new() };
        text.push_str(&format!("{path}: {many}{shown}; nothing was changed\n"));
        text
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let mut group = Group::with_title(
            Level::ERROR.primary_title(problem.message.as_str()).id(problem.code.as_str()),
        );
        if let Some(span) = &problem.span {
            let mut primary = AnnotationKind::Primary.span(span.clone());
            if !problem.label.is_empty() {
                primary = primary.label(problem.label.as_str());
            }
            let mut snippet = Snippet::source(self.source.text.as_str())
                .path(self.source.path.to_string_lossy())
                .annotation(primary);
            if let Some((span, label)) = &problem.context {
                let context = AnnotationKind::Context.span(span.clone());
                snippet = snippet.annotation(context.label(label.as_str()));
            }
            group = group.element(snippet);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Paint::Plain))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}
