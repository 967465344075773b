//! The one declaration per key: [`section!`] makes of it the typed struct, its reader and its
//! entry in the reference.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Code, Problem};
use super::shape::Shape;
use super::suggest;

/// What a change of a key takes hold of on a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reload {
    /// At once, for open connections too.
    Live,
    /// Connections opened from then on.
    NewConnections,
    /// Nothing: a reload that changes it is refused, the process must be started again.
    Restart,
}

impl Reload {
    /// Returns the name as the reference prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NewConnections => "new-connections",
            Self::Restart => "restart",
        }
    }
}

/// What holds when the file does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The file must say.
    Required,
    /// The absence itself has a meaning, which [`Key::beyond`] tells.
    Optional,
    /// This, in TOML.
    Default(&'static str),
}

/// One key as the reference prints it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in the section.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Type and unit.
    pub type_text: String,
    /// What is accepted.
    pub range_text: String,
    /// What holds when the file does not say.
    pub presence: Presence,
    /// When a change takes hold.
    pub reload: Reload,
    /// What happens when it is unset or exceeded.
    pub beyond: &'static str,
    /// A value, in TOML.
    pub example: &'static str,
    /// Related keys, as `section.key`.
    pub see: &'static [&'static str],
}

/// One section as the reference prints it.
#[derive(Clone, Debug)]
pub struct SectionEntry {
    /// Its name in the file.
    pub name: &'static str,
    /// Written `[[name]]`, any number of times.
    pub repeated: bool,
    /// What it is for.
    pub meaning: &'static str,
    /// Its keys in the order of their declaration.
    pub keys: Vec<Key>,
}

/// A section of the file: declared with [`section!`].
pub(super) trait Section: Sized {
    /// Its name in the file.
    const NAME: &'static str;
    /// Its keys.
    const KEYS: &'static [&'static str];
    /// Returns its part of the reference.
    fn entry() -> SectionEntry;
    /// Reads it; `None` after a problem has been noted.
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self>;
    /// Reads the value of one key, to check an example.
    #[cfg(test)]
    fn accepts(context: &mut Context, key: &str, value: &Spanned<DeValue<'_>>) -> bool;
}

/// What reading collects.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Directory that relative paths start from.
    pub(super) base: PathBuf,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
    /// Where each value is written.
    pub(super) places: BTreeMap<String, Range<usize>>,
}

/// Reads the keys of one table.
pub(super) struct Reader<'a, 'i> {
    context: &'a mut Context,
    table: Option<&'a DeTable<'i>>,
    span: Option<Range<usize>>,
    path: String,
}

impl<'a, 'i> Reader<'a, 'i> {
    /// Starts on the table written at `span`; `None` for a section that is not there.
    pub(super) fn new(
        context: &'a mut Context,
        path: String,
        table: Option<(&'a DeTable<'i>, Range<usize>)>,
    ) -> Self {
        let (table, span) = table.map_or((None, None), |(table, span)| (Some(table), Some(span)));
        Self { context, table, span, path }
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        let (_, value) = self.table?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(value)
    }

    /// Reads a key that must be there.
    pub(super) fn required<T>(&mut self, key: &str, example: &str, shape: &Shape<T>) -> Option<T> {
        if let Some(value) = self.find(key) {
            return shape.read(self.context, &format!("{}.{key}", self.path), value);
        }
        let message = format!("`{}` needs `{key}`", self.path);
        let problem = Problem::new(
            Code::MissingKey,
            self.span.clone(),
            message,
            format!("`{key}` is missing here"),
        );
        self.context.problems.push(problem.help(format!("add for example: {key} = {example}")));
        None
    }

    /// Reads a key whose absence has a meaning; the outer `None` after a problem.
    #[allow(clippy::option_option, reason = "read badly and not there are two things")]
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        _: &str,
        shape: &Shape<T>,
    ) -> Option<Option<T>> {
        match self.find(key) {
            Some(value) => {
                shape.read(self.context, &format!("{}.{key}", self.path), value).map(Some)
            }
            None => Some(None),
        }
    }

    /// Reads a key that has a value of its own when the file does not say.
    pub(super) fn or_default<T>(
        &mut self,
        key: &str,
        default: &str,
        shape: &Shape<T>,
    ) -> Option<T> {
        if let Some(value) = self.find(key) {
            return shape.read(self.context, &format!("{}.{key}", self.path), value);
        }
        let mut unsaid = Context { base: self.context.base.clone(), ..Context::default() };
        let value = DeValue::parse(default).unwrap_or_else(|error| {
            panic!("the default of `{key}` is TOML: {error}");
        });
        let read = shape.read(&mut unsaid, key, &value);
        assert!(read.is_some(), "the default of `{key}` is within its own range");
        read
    }

    /// Refuses keys that are none of `known`; `elsewhere` finds the section a key belongs to.
    pub(super) fn refuse_others(&mut self, known: &[&str]) {
        let Some(table) = self.table else { return };
        for (name, _) in table {
            let written = name.get_ref().as_ref();
            if known.contains(&written) {
                continue;
            }
            let mut problem = Problem::new(
                Code::UnknownKey,
                Some(name.span()),
                format!("`{}` has no key `{written}`", self.path),
                "unknown key",
            );
            let elsewhere = super::schema::section_with_key(written);
            if let Some(meant) = suggest::closest(written, known.iter().copied()) {
                problem = problem.help(format!("did you mean `{meant}`?"));
            } else if let Some(section) = elsewhere {
                problem = problem.help(format!("`{written}` belongs to {section}"));
            } else {
                problem = problem.help(format!("known here: {}", known.join(", ")));
            }
            self.context.problems.push(problem);
        }
    }
}

/// Type of a field: optional keys are `Option`.
macro_rules! kept {
    (optional, $type:ty) => { Option<$type> };
    ($presence:ident, $type:ty) => { $type };
}
pub(super) use kept;

/// Verb of the reader by presence.
macro_rules! read_key {
    ($reader:ident, $key:expr, $example:literal, $shape:expr, required) => {
        $reader.required($key, $example, &$shape)
    };
    ($reader:ident, $key:expr, $example:literal, $shape:expr, optional) => {
        $reader.optional($key, $example, &$shape)
    };
    ($reader:ident, $key:expr, $example:literal, $shape:expr, default($default:literal)) => {
        $reader.or_default($key, $default, &$shape)
    };
}
pub(super) use read_key;

/// Presence as the reference keeps it.
macro_rules! presence {
    (required) => {
        Presence::Required
    };
    (optional) => {
        Presence::Optional
    };
    (default($default:literal)) => {
        Presence::Default($default)
    };
}
pub(super) use presence;

/// Declares a section: per key its meaning (the doc comment), type, shape, presence, reload class,
/// what happens when unset or exceeded, an example and related keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $section:ident = $name:literal, repeated: $repeated:literal {
            $(
                $(#[doc = $meaning:literal])+
                $key:ident: $type:ty = $shape:expr, $presence:ident $(($default:literal))?,
                    $reload:ident {
                    beyond: $beyond:literal,
                    example: $example:literal,
                    see: [$($see:literal),* $(,)?],
                }
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $section {
            $($(#[doc = $meaning])+ pub $key: kept!($presence, $type),)+
        }

        impl Section for $section {
            const NAME: &'static str = $name;
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            fn entry() -> SectionEntry {
                SectionEntry {
                    name: $name,
                    repeated: $repeated,
                    meaning: concat!($($about),+),
                    keys: vec![$({
                        let shape: Shape<$type> = $shape;
                        Key {
                            name: stringify!($key),
                            meaning: concat!($($meaning),+),
                            type_text: shape.type_text,
                            range_text: shape.range_text,
                            presence: presence!($presence $(($default))?),
                            reload: Reload::$reload,
                            beyond: $beyond,
                            example: $example,
                            see: &[$($see),*],
                        }
                    }),+],
                }
            }

            fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
                // One binding for all, because a key may be called as a shape is.
                let ($($key,)+) = ($(read_key!(
                    reader, stringify!($key), $example, $shape, $presence $(($default))?
                ),)+);
                reader.refuse_others(Self::KEYS);
                Some(Self { $($key: $key?),+ })
            }

            #[cfg(test)]
            fn accepts(context: &mut Context, key: &str, value: &Spanned<DeValue<'_>>) -> bool {
                match key {
                    $(stringify!($key) => {
                        let shape: Shape<$type> = $shape;
                        shape.read(context, key, value).is_some()
                    })+
                    _ => false,
                }
            }
        }
    };
}
pub(super) use section;
