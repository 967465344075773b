//! A file of sections: read as TOML, each section by its own reader, what nobody knows refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::report::{Code, Problem, Report, Source};
use super::schema::{header, section_with_key};
use super::section::{Context, Reader, Section, SectionEntry};
use super::suggest;

/// Reads `text` by `read`, whose sections are `known`; `path` is named in messages, and files are
/// relative to its directory.
///
/// # Errors
/// [`Report`]: everything that is wrong with it, as far as one reading shows.
pub(super) fn read<T>(
    path: &Path,
    text: &str,
    known: &[SectionEntry],
    read: impl FnOnce(&mut Context, &DeTable<'_>) -> Option<T>,
) -> Result<(T, Source), Report> {
    let source = Source { path: path.to_owned(), text: text.to_owned(), ..Source::default() };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut context = Context {
        base: path.parent().map(Path::to_owned).unwrap_or_default(),
        problems: errors.iter().map(syntax_problem).collect(),
        places: BTreeMap::new(),
    };
    // Past a syntax error keys are missing that were meant to be there; only it is told.
    if !context.problems.is_empty() {
        return Err(Report::new(source, context.problems));
    }
    refuse_unknown_sections(&mut context, document.get_ref(), known);
    let kept = read(&mut context, document.get_ref());
    let source = Source { places: context.places, ..source };
    match kept.filter(|_| context.problems.is_empty()) {
        Some(kept) => Ok((kept, source)),
        None => Err(Report::new(source, context.problems)),
    }
}

fn syntax_problem(error: &toml::de::Error) -> Problem {
    let message = error.message().lines().next().unwrap_or("not TOML");
    Problem::new(Code::Syntax, error.span(), format!("not TOML: {message}"), "here")
}

fn refuse_unknown_sections(context: &mut Context, root: &DeTable<'_>, known: &[SectionEntry]) {
    for (name, value) in root {
        let written = name.get_ref().as_ref();
        if known.iter().any(|section| section.name == written) {
            continue;
        }
        let mut problem = Problem::new(
            Code::UnknownKey,
            Some(name.span()),
            format!("there is no section `{written}`"),
            "unknown section",
        );
        let belongs = (!value.get_ref().is_table()).then(|| section_with_key(written));
        if let Some(section) = belongs.flatten() {
            problem.message = format!("`{written}` stands outside its section");
            problem.label = "outside every section".to_owned();
            problem = problem.help(format!("`{written}` belongs to {section}"));
        } else if let Some(meant) = suggest::closest(written, known.iter().map(|s| s.name)) {
            let repeated = known.iter().any(|s| s.name == meant && s.repeated);
            problem = problem.help(format!("did you mean {}?", header(meant, repeated)));
        } else {
            let names: Vec<&str> = known.iter().map(|section| section.name).collect();
            problem = problem.help(format!("sections are: {}", names.join(", ")));
        }
        context.problems.push(problem);
    }
}

fn find<'a, 'i>(
    root: &'a DeTable<'i>,
    name: &str,
) -> Option<(Range<usize>, &'a toml::Spanned<DeValue<'i>>)> {
    let (key, value) = root.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span(), value))
}

/// Reads a section written at most once; one that is absent is read as an empty one.
pub(super) fn single<S: Section>(context: &mut Context, root: &DeTable<'_>) -> Option<S> {
    let name = S::NAME.to_owned();
    let Some((key, value)) = find(root, S::NAME) else {
        return S::read(&mut Reader::new(context, name, None));
    };
    context.places.insert(name.clone(), key.clone());
    let Some(table) = value.get_ref().as_table() else {
        let message = format!("`{name}` is written once, as a section");
        let problem = Problem::new(Code::WrongType, Some(key), message, "not a section");
        context.problems.push(problem.help(format!("write [{name}]")));
        return None;
    };
    S::read(&mut Reader::new(context, name, Some((table, key))))
}

/// Reads a section written any number of times.
pub(super) fn repeated<S: Section>(context: &mut Context, root: &DeTable<'_>) -> Option<Vec<S>> {
    let name = S::NAME;
    let Some((key, value)) = find(root, name) else { return Some(Vec::new()) };
    context.places.insert(name.to_owned(), key.clone());
    let Some(items) = value.get_ref().as_array() else {
        let message = format!("`{name}` may be written several times, as a list of sections");
        let problem = Problem::new(Code::WrongType, Some(key), message, "a single section");
        context.problems.push(problem.help(format!("write [[{name}]]")));
        return None;
    };
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("{name}[{index}]");
        context.places.insert(path.clone(), item.span());
        let Some(table) = item.get_ref().as_table() else {
            let message = format!("`{path}` must be a section");
            let problem =
                Problem::new(Code::WrongType, Some(item.span()), message, "not a section");
            context.problems.push(problem.help(format!("write [[{name}]]")));
            read.push(None);
            continue;
        };
        read.push(S::read(&mut Reader::new(context, path, Some((table, item.span())))));
    }
    read.into_iter().collect()
}
