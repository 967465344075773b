//! Rust source as far as the house rules need it: identifiers and punctuation with their lines,
//! comments and literals left out, and the paths a file names.

/// A word or a punctuation character of a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The identifier, or one character (`::` counts as one).
    pub(crate) text: String,
    /// Counted from one.
    pub(crate) line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Returns the tokens of `source`, without comments, strings, characters and numbers.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let mut line = 1;
    // Every branch moves `at` forward, so the loop ends with the file.
    while let Some(&c) = chars.get(at) {
        let start = at;
        at = if c.is_alphabetic() || c == '_' {
            let end = word_end(&chars, at);
            let text: String = chars[at..end].iter().collect();
            match (text.as_str(), chars.get(end)) {
                ("r" | "br" | "cr", Some('"' | '#')) => raw_string_end(&chars, end),
                ("b" | "c", Some('"')) => string_end(&chars, end),
                ("b", Some('\'')) => quote_end(&chars, end),
                _ => {
                    found.push(Token { text, line });
                    end
                }
            }
        } else if c.is_ascii_digit() {
            word_end(&chars, at)
        } else {
            match (c, chars.get(at + 1)) {
                ('/', Some('/')) => line_end(&chars, at),
                ('/', Some('*')) => block_comment_end(&chars, at),
                ('"', _) => string_end(&chars, at),
                ('\'', _) => quote_end(&chars, at),
                (':', Some(':')) => {
                    found.push(Token { text: "::".to_owned(), line });
                    at + 2
                }
                _ => {
                    if !c.is_whitespace() {
                        found.push(Token { text: c.to_string(), line });
                    }
                    at + 1
                }
            }
        };
        line += chars[start..at.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    found
}

fn word_end(chars: &[char], from: usize) -> usize {
    let rest = chars[from..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
    from + rest
}

fn line_end(chars: &[char], from: usize) -> usize {
    from + chars[from..].iter().take_while(|c| **c != '\n').count()
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// `from` is at the opening quote.
fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `from` is at the first `#` or the quote, after the `r`. A raw identifier is one word.
fn raw_string_end(chars: &[char], from: usize) -> usize {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + hashes) != Some(&'"') {
        return word_end(chars, from + hashes);
    }
    let mut at = from + hashes + 1;
    while at < chars.len() {
        let closing = chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count();
        if chars[at] == '"' && closing == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    chars.len()
}

/// `from` is at the quote of a character or of a lifetime.
fn quote_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => {
            let rest = chars.get(from + 3..).unwrap_or_default();
            from + 4 + rest.iter().take_while(|c| **c != '\'').count()
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}

/// A path a file names, in a `use` or in the text, made absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    /// `crate::shard::Leg`, `std::fs`, `tokio::net::*`.
    pub(crate) path: String,
    /// Counted from one.
    pub(crate) line: usize,
}

impl NamedPath {
    /// Whether the path is `prefix` or leads into it.
    pub(crate) fn is_in(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }
}

/// Returns every path of at least two segments in `tokens`, `use` trees flattened.
///
/// `module` is where the file stands (`["edge", "access"]`), against which `super` and `self` are
/// resolved; inline modules are not followed, as the house has none but tests.
pub(crate) fn named_paths(tokens: &[Token], module: &[&str]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "use" {
            at = use_tree(tokens, at + 1, &[], module, &mut found);
        } else if tokens[at].is_word() {
            let (segments, end) = segments(tokens, at);
            if segments.len() > 1 {
                found.push(NamedPath { path: absolute(&segments, module), line: tokens[at].line });
            }
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads `word(::word)*` from `from`; returns the words and the place after them.
fn segments(tokens: &[Token], from: usize) -> (Vec<String>, usize) {
    let mut words = vec![tokens[from].text.clone()];
    let mut at = from + 1;
    while at + 1 < tokens.len() && tokens[at].text == "::" && tokens[at + 1].is_word() {
        words.push(tokens[at + 1].text.clone());
        at += 2;
    }
    (words, at)
}

/// Reads one branch of a `use` tree from `from`; returns the place after it.
fn use_tree(
    tokens: &[Token],
    from: usize,
    prefix: &[String],
    module: &[&str],
    found: &mut Vec<NamedPath>,
) -> usize {
    let mut words = prefix.to_vec();
    let mut at = from;
    let line = tokens.get(from).map_or(0, |t| t.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.text != "}") {
                    at = use_tree(tokens, at, &words, module, found);
                    if tokens.get(at).is_some_and(|t| t.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "*" => {
                words.push("*".to_owned());
                at += 1;
            }
            _ if token.is_word() => {
                words.push(token.text.clone());
                at += 1;
            }
            _ => break,
        }
    }
    found.push(NamedPath { path: absolute(&words, module), line });
    // A token that belongs to no tree must not hold the reader up.
    if at == from { at + 1 } else { at }
}

fn absolute(words: &[String], module: &[&str]) -> String {
    let mut here = module.to_vec();
    let mut rest = words;
    let mut relative = false;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "super" => {
                here.pop();
            }
            "self" => {}
            _ => break,
        }
        relative = true;
        rest = more;
    }
    let mut parts: Vec<&str> = Vec::new();
    if relative {
        parts.push("crate");
        parts.append(&mut here);
    }
    parts.extend(rest.iter().map(String::as_str));
    parts.join("::")
}
