//! Translates a regular expression of jq, whose library is Oniguruma, to the syntax of the crate `regex`.
//!
//! Both agree on most of the syntax. What they read in another way is translated, or refused.

use std::{fmt::Write as _, iter::Peekable, str::CharIndices};

/// Begins the name of a group for the line break that `$` leaves out of a match. Patterns of jq have no such name.
pub(super) const END: &str = "_[";

/// Translates a pattern. `is_extended` says that white space and comments do not count.
///
/// # Errors
/// What is not supported, and what to write in its place.
pub(super) fn translated(pattern: &str, is_extended: bool) -> Result<String, String> {
    let translation = Translation {
        pattern: pattern.char_indices().peekable(),
        whole: pattern,
        is_extended: is_extended || has_inline_flag(pattern, 'x'),
        is_multi_line: has_inline_flag(pattern, 'm'),
        translated: String::with_capacity(pattern.len() + 16),
        ends: 0,
    };
    translation.run()
}

/// Whether a group such as `(?im)` sets a flag.
fn has_inline_flag(pattern: &str, flag: char) -> bool {
    pattern.split("(?").skip(1).any(|rest| {
        let flags = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        flags.contains(flag)
    })
}

struct Translation<'p> {
    pattern: Peekable<CharIndices<'p>>,
    whole: &'p str,
    is_extended: bool,
    is_multi_line: bool,
    translated: String,
    /// Number of ends so far.
    ends: usize,
}

impl<'p> Translation<'p> {
    fn run(mut self) -> Result<String, String> {
        // Whether a repetition was read last.
        let mut repeats = false;
        while let Some((at, c)) = self.pattern.next() {
            let repeated = std::mem::take(&mut repeats);
            let rest = self.rest(at, c);
            match c {
                '\\' => self.escape(rest)?,
                '[' => self.class()?,
                '$' if !self.is_multi_line => self.end(rest)?,
                '+' if repeated => {
                    return Err("possessive repetition, such as a++, is not supported".to_owned());
                }
                '{' if rest.starts_with(',') => {
                    return Err("give the least number of repetitions, as in {0,3}".to_owned());
                }
                '#' if self.is_extended => {
                    self.translated.push(c);
                    while let Some((_, c)) = self.pattern.next_if(|(_, c)| *c != '\n') {
                        self.translated.push(c);
                    }
                }
                '(' => {
                    self.translated.push(c);
                    // The question mark of a group repeats nothing.
                    self.translated.extend(self.pattern.next_if(|(_, c)| *c == '?').map(|it| it.1));
                }
                _ => {
                    repeats = matches!(c, '*' | '+' | '?');
                    self.translated.push(c);
                }
            }
        }
        Ok(self.translated)
    }

    /// Returns the text after a character.
    fn rest(&self, at: usize, c: char) -> &'p str {
        self.whole.get(at + c.len_utf8()..).unwrap_or_default()
    }

    /// Translates what follows a backslash.
    fn escape(&mut self, rest: &str) -> Result<(), String> {
        match self.pattern.next() {
            Some((at, c @ 'Z')) => {
                let rest = self.rest(at, c);
                self.end(rest)?;
            }
            // The crate reads them as the start and the end of a word.
            Some((_, c @ ('<' | '>'))) => self.translated.push(c),
            Some((_, 'b' | 'B')) if rest.get(1..).is_some_and(|rest| rest.starts_with('{')) => {
                return Err("a boundary cannot be repeated".to_owned());
            }
            Some((_, c)) => self.translated.extend(['\\', c]),
            None => self.translated.push('\\'),
        }
        Ok(())
    }

    /// Translates `$`, which also matches before a line break at the end of the text. The crate has no such anchor, so a
    /// group takes the line break, and the match is made shorter.
    fn end(&mut self, rest: &str) -> Result<(), String> {
        let is_passed = |c: char| c == ')' || self.is_extended && c.is_whitespace();
        let rest = rest.trim_start_matches(is_passed);
        let is_comment = self.is_extended && rest.starts_with('#');
        if !(rest.is_empty() || rest.starts_with('|') || is_comment) {
            return Err("$ must be at the end of the regex or of an alternative".to_owned());
        }
        // Writing to a string cannot fail.
        let _ = write!(self.translated, "(?P<{END}{}]>\\n?)\\z", self.ends);
        self.ends += 1;
        Ok(())
    }

    /// Translates a class of characters, after its opening bracket.
    fn class(&mut self) -> Result<(), String> {
        self.translated.push('[');
        self.translated.extend(self.pattern.next_if(|(_, c)| *c == '^').map(|it| it.1));
        if self.pattern.next_if(|(_, c)| *c == ']').is_some() {
            self.translated.push_str("\\]");
        }
        while let Some((at, c)) = self.pattern.next() {
            let rest = self.rest(at, c);
            match c {
                ']' => {
                    self.translated.push(']');
                    return Ok(());
                }
                '\\' => {
                    self.translated.push('\\');
                    self.translated.extend(self.pattern.next().map(|(_, c)| c));
                }
                '[' => {
                    let name = rest.strip_prefix(':').and_then(|rest| rest.split_once(":]"));
                    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'^';
                    match name.filter(|(name, _)| name.bytes().all(is_letter)) {
                        Some((name, _)) => {
                            let class = named_class(name)?;
                            // The colons, the name and the bracket.
                            for _ in 0..name.len() + 3 {
                                self.pattern.next();
                            }
                            self.translated.push_str(&class);
                        }
                        // The crate reads a class in the class.
                        None => self.translated.push_str("\\["),
                    }
                }
                '-' if rest.starts_with('-') => {
                    return Err("write \\- for a hyphen in a class".to_owned());
                }
                // The crate reads && and ~~ as operators.
                '&' | '~' => self.translated.extend(['\\', c]),
                // The crate leaves them out here, too.
                c if self.is_extended && (c.is_whitespace() || c == '#') => {
                    let _ = write!(self.translated, "\\x{{{:x}}}", u32::from(c));
                }
                c => self.translated.push(c),
            }
        }
        Ok(())
    }
}

/// Translates a class such as `alpha`, which has all characters of Unicode in Oniguruma.
fn named_class(name: &str) -> Result<String, String> {
    let (name, not) = match name.strip_prefix('^') {
        Some(name) => (name, "^"),
        None => (name, ""),
    };
    let class = match name {
        "alnum" => "\\p{Alphabetic}\\p{Nd}",
        "alpha" => "\\p{Alphabetic}",
        "ascii" => "\\x00-\\x7f",
        "blank" => "\\t\\p{Zs}",
        "cntrl" => "\\p{Cc}",
        "digit" => "\\p{Nd}",
        "lower" => "\\p{Lowercase}",
        "punct" => "\\p{P}$+<=>^`|\\~",
        "space" => "\\s",
        "upper" => "\\p{Uppercase}",
        "word" => "\\w",
        "xdigit" => "0-9A-Fa-f",
        _ => return Err(format!("there is no class [:{name}:]")),
    };
    Ok(format!("[{not}{class}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_translated() {
        for (pattern, is_extended, expected) in [
            ("a+b*?[^x-z]", false, "a+b*?[^x-z]"),
            ("^a$", false, "^a(?P<_[0]>\\n?)\\z"),
            ("(a$)|b\\Z", false, "(a(?P<_[0]>\\n?)\\z)|b(?P<_[1]>\\n?)\\z"),
            ("\\$[$]\\\\", false, "\\$[$]\\\\"),
            ("(?m)^a$.b", false, "(?m)^a$.b"),
            ("(?<x>a)(?:b)?", false, "(?<x>a)(?:b)?"),
            ("\\<a\\>", false, "<a>"),
            ("[]a]", false, "[\\]a]"),
            ("[[a&&b~]", false, "[\\[a\\&\\&b\\~]"),
            ("[[:alpha:]_-]", false, "[[\\p{Alphabetic}]_-]"),
            ("[[:^space:]]", false, "[[^\\s]]"),
            ("a{2}+", false, "a{2}+"),
            ("[ #]a # $ [", true, "[\\x{20}\\x{23}]a # $ ["),
            ("(?x)[ ]$ # end", false, "(?x)[\\x{20}](?P<_[0]>\\n?)\\z # end"),
        ] {
            let translated = translated(pattern, is_extended).unwrap();
            assert_eq!(translated, expected, "{pattern}");
            assert!(regex::Regex::new(&translated).is_ok() || is_extended, "{translated}");
        }
    }

    #[test]
    fn patterns_with_another_meaning_are_refused() {
        for (pattern, why) in [
            ("a++b", "possessive"),
            ("a?+", "possessive"),
            ("a*+", "possessive"),
            ("a$b", "at the end of the regex"),
            ("a$*", "at the end of the regex"),
            ("a{,3}", "{0,3}"),
            ("[a--c]", "write \\-"),
            ("[[:name:]]", "there is no class [:name:]"),
            ("a\\b{start}", "a boundary cannot be repeated"),
        ] {
            let refused = translated(pattern, false).unwrap_err();
            assert!(refused.contains(why), "{pattern}: {refused}");
        }
    }
}
