//! Reads one table of the file, key by key. Keys that are never requested are unknown keys. This module does
//! not check a value together with other values.

use std::{fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    location::mistake,
    net::urls::quotable,
    text::{most_similar, similar},
};

/// An error in the file, with its line.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct ConfigMistake {
    line: usize,
    what: String,
}

pub(super) type ConfigResult<T, E = ConfigMistake> = Result<T, E>;

impl ConfigMistake {
    pub(super) fn new(text: &str, at: usize, what: impl Into<String>) -> Self {
        let line = 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        Self { line, what: what.into() }
    }
}

/// A value and its place in the file.
#[derive(Debug, Clone)]
pub(super) struct ConfigItem<'t> {
    text: &'t str,
    section: String,
    key: &'static str,
    span: Range<usize>,
    value: &'t DeValue<'t>,
}

/// A table whose keys are requested one after another.
pub(super) struct Section<'t> {
    text: &'t str,
    name: String,
    start: usize,
    entries: Vec<(&'t Spanned<std::borrow::Cow<'t, str>>, &'t Spanned<DeValue<'t>>)>,
    known: Vec<&'static str>,
    taken: Vec<ConfigItem<'t>>,
    /// The keys with an empty value, which switches a default off.
    off: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn new(
        text: &'t str,
        name: impl Into<String>,
        start: usize,
        table: &'t DeTable<'t>,
    ) -> Self {
        let entries = table.iter().collect();
        let (known, taken, off) = (Vec::new(), Vec::new(), Vec::new());
        Self { text, name: name.into(), start, entries, known, taken, off }
    }

    /// Sets a better name for error messages, once the name is known.
    pub(super) fn rename(&mut self, name: impl Into<String>) {
        self.name = name.into();
    }

    /// Creates an error about the table as a whole.
    pub(super) fn wrong(&self, what: impl fmt::Display) -> ConfigMistake {
        ConfigMistake::new(self.text, self.start, format!("{}: {what}", self.name))
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<ConfigItem<'t>> {
        self.known.push(key);
        let index = self.entries.iter().position(|(name, _)| name.get_ref() == key)?;
        let (_, value) = self.entries.swap_remove(index);
        let section = self.name.clone();
        let (span, value) = (value.span(), value.get_ref());
        let item = ConfigItem { text: self.text, section, key, span, value };
        self.taken.push(item.clone());
        Some(item)
    }

    /// Creates an error about options of the table together. `error` has the names of options in backticks, and the error
    /// has the place of the first one that is in this table, and not in the defaults. `what` says it with keys.
    pub(super) fn wrong_about(&self, error: &str, what: &str) -> ConfigMistake {
        let names = error.split('`').skip(1).step_by(2);
        let names = names.filter_map(|quoted| quoted.split(' ').next());
        let own = names.filter_map(|name| self.taken.iter().find(|item| item.key == name)).next();
        own.map_or_else(|| self.wrong(what), |item| item.wrong(what))
    }

    /// Creates an error about the value of a key, which can be a default.
    pub(super) fn wrong_in(&self, key: &str, what: &str) -> ConfigMistake {
        let own = self.taken.iter().find(|item| item.key == key);
        own.map_or_else(|| self.wrong(format_args!("{key}: {what}")), |item| item.wrong(what))
    }

    /// Returns the keys that were requested.
    pub(super) fn known(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().copied()
    }

    /// Returns the keys that switch a default off.
    pub(super) fn off(&self) -> &[&'static str] {
        &self.off
    }

    /// Returns the table without these keys.
    pub(super) fn without(mut self, keys: &[&'static str]) -> Self {
        self.entries.retain(|(name, _)| !keys.contains(&&**name.get_ref()));
        self
    }

    /// Takes a key and reads its value like [`read`](Self::read). An empty list switches a default off.
    pub(super) fn read_list<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&ConfigItem<'t>) -> ConfigResult<T>,
    ) -> ConfigResult<Option<T>> {
        self.read_unless(key, |value| value.as_array().is_some_and(|list| list.is_empty()), read)
    }

    /// Takes a key and reads its value like [`read`](Self::read). An empty text switches a default off.
    pub(super) fn read_text<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&ConfigItem<'t>) -> ConfigResult<T>,
    ) -> ConfigResult<Option<T>> {
        self.read_unless(key, |value| value.as_str() == Some(""), read)
    }

    /// Takes a key and reads its value like [`read`](Self::read). An empty table switches a default off.
    pub(super) fn read_table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&ConfigItem<'t>) -> ConfigResult<T>,
    ) -> ConfigResult<Option<T>> {
        self.read_unless(key, |value| value.as_table().is_some_and(|it| it.is_empty()), read)
    }

    fn read_unless<T>(
        &mut self,
        key: &'static str,
        is_off: impl FnOnce(&DeValue<'t>) -> bool,
        read: impl FnOnce(&ConfigItem<'t>) -> ConfigResult<T>,
    ) -> ConfigResult<Option<T>> {
        let Some(item) = self.take(key) else { return Ok(None) };
        if is_off(item.value) {
            self.off.push(key);
            return Ok(None);
        }
        read(&item).map(Some)
    }

    /// Whether the table has a key that was not requested yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Takes a key and reads its value.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&ConfigItem<'t>) -> ConfigResult<T>,
    ) -> ConfigResult<Option<T>> {
        self.take(key).map(|item| read(&item)).transpose()
    }

    /// Returns an error if the table contains a key that was never requested.
    pub(super) fn finish(&self) -> ConfigResult<()> {
        let first = self.entries.iter().min_by_key(|(key, _)| key.span().start);
        let Some((key, value)) = first else { return Ok(()) };
        let name = key.get_ref();
        let what = match self.name.as_str() {
            "" => self.unknown_table(name, value.get_ref()),
            within => match similar(name, self.known.iter().copied()) {
                Some(meant) => format!("unknown key {name:?} in {within}: did you mean {meant:?}?"),
                None => {
                    let keys = self.known.join(", ");
                    format!("unknown key {name:?} in {within}: the keys are {keys}")
                }
            },
        };
        Err(ConfigMistake::new(self.text, key.span().start, what))
    }

    /// Describes an unknown table of the file, or a key that is in no table.
    fn unknown_table(&self, name: &str, value: &DeValue<'_>) -> String {
        const TABLES: &str = "[api], [defaults] and [[job]]";
        let shown = match value {
            DeValue::Table(_) => format!("[{name}]"),
            DeValue::Array(_) => format!("[[{name}]]"),
            _ => return format!("{name:?} is in no table: the tables are {TABLES}"),
        };
        let meant = match similar(name, self.known.iter().copied()) {
            Some("job") => "did you mean [[job]]?".to_owned(),
            Some(meant) => format!("did you mean [{meant}]?"),
            None => format!("the tables are {TABLES}"),
        };
        format!("unknown table {shown}: {meant}")
    }
}

impl<'t> ConfigItem<'t> {
    /// Creates an error about this value. The message contains the value as written in the file, at most 100
    /// characters of it, then `why`.
    pub(super) fn wrong(&self, why: impl fmt::Display) -> ConfigMistake {
        let value = self.text.get(self.span.clone()).unwrap_or_default();
        let mut shown: String = value.chars().take(100).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        self.wrong_as(&shown, why)
    }

    /// Creates an error about this value, which it shows as `shown`.
    fn wrong_as(&self, shown: &str, why: impl fmt::Display) -> ConfigMistake {
        let within =
            if self.section.is_empty() { String::new() } else { format!(" in {}", self.section) };
        let key = self.key;
        ConfigMistake::new(self.text, self.span.start, format!("{key} = {shown}{within}: {why}"))
    }

    /// Returns the number of the value's line, from 1.
    pub(super) fn line(&self) -> usize {
        ConfigMistake::new(self.text, self.span.start, "").line
    }

    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    pub(super) fn text(&self) -> ConfigResult<&'t str> {
        match self.value.as_str() {
            Some(text) if text.trim().is_empty() => Err(self.wrong("it is empty")),
            Some(text) => Ok(text),
            None => Err(self.wrong("give a text in quotes")),
        }
    }

    /// Reads a path or a URL. A relative path is not resolved yet.
    pub(super) fn path(&self) -> ConfigResult<String> {
        let text = self.text()?;
        // A URL may hold a password.
        let wrong = |why: String| self.wrong_as(&format!("{:?}", quotable(text)), why);
        mistake(text).map_or(Ok(text.to_owned()), |why| Err(wrong(why)))
    }

    /// Reads a text and parses it with `parse`.
    pub(super) fn parse<T>(
        &self,
        parse: impl FnOnce(&str) -> ConfigResult<T, String>,
    ) -> ConfigResult<T> {
        parse(self.text()?).map_err(|why| self.wrong(why))
    }

    pub(super) fn flag(&self) -> ConfigResult<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("give true or false"))
    }

    pub(super) fn integer<T: TryFrom<i64>>(&self) -> ConfigResult<T> {
        let integer = self.value.as_integer().ok_or_else(|| self.wrong("give a whole number"))?;
        i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.wrong("the number is out of range"))
    }

    /// Reads a whole number that is at least 1.
    pub(super) fn positive<T: TryFrom<i64> + Default + PartialEq>(&self) -> ConfigResult<T> {
        match self.integer()? {
            zero if zero == T::default() => Err(self.wrong("it must be at least 1")),
            number => Ok(number),
        }
    }

    /// Reads a decimal or a whole number.
    pub(super) fn decimal(&self) -> ConfigResult<f64> {
        let float = self.value.as_float().map(|float| float.as_str().replace('_', ""));
        match float {
            Some(text) => text.parse().map_err(|_| self.wrong("give a decimal number")),
            None if self.value.is_integer() => self.integer::<i32>().map(f64::from),
            None => Err(self.wrong("give a decimal number, such as 0.05")),
        }
    }

    pub(super) fn texts(&self) -> ConfigResult<Vec<String>> {
        let wrong = || self.wrong("give a list of texts, such as [\"a\", \"b\"]");
        let list = self.value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        let text = |value: &Spanned<DeValue<'_>>| value.get_ref().as_str().map(str::to_owned);
        list.iter().map(text).collect::<Option<_>>().ok_or_else(wrong)
    }

    /// Reads a text, or a list of texts, and parses each with `parse`. A mistake has the place of its text.
    pub(super) fn each<T>(
        &self,
        parse: impl Fn(&str) -> ConfigResult<T, String>,
    ) -> ConfigResult<Vec<T>> {
        let element = |value: &'t Spanned<DeValue<'t>>| Self {
            span: value.span(),
            value: value.get_ref(),
            ..self.clone()
        };
        let wrong = || self.wrong("give a text in quotes, or a list of such texts");
        match self.value {
            DeValue::String(text) if text.trim().is_empty() => {
                Err(self.wrong("it is empty: give a text, or [] for none"))
            }
            DeValue::String(_) => Ok(vec![self.parse(parse)?]),
            DeValue::Array(list) if !list.is_empty() => {
                list.iter().map(|value| element(value).parse(&parse)).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// Reads a table of texts with arbitrary keys. Error messages do not quote the values, because some are
    /// secrets.
    pub(super) fn pairs(&self) -> ConfigResult<Vec<(&'t str, &'t str)>> {
        let (key, section) = (self.key, &self.section);
        let why = format!("{key} in {section}: give texts by name, such as {{ region = \"eu\" }}");
        let wrong = || ConfigMistake::new(self.text, self.span.start, why.clone());
        let pairs = self.value.as_table().ok_or_else(wrong)?.iter();
        let pair = |(name, value): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let name: &'t std::borrow::Cow<'t, str> = name.get_ref();
            Some((name.as_ref(), value.get_ref().as_str()?))
        };
        pairs.map(pair).collect::<Option<_>>().ok_or_else(wrong)
    }

    /// Reads a table inside the table.
    pub(super) fn section(&self) -> ConfigResult<Section<'t>> {
        let table = self.value.as_table().ok_or_else(|| self.wrong("give a table"))?;
        let name = match self.section.as_str() {
            "" => format!("[{}]", self.key),
            within => format!("{} of {within}", self.key),
        };
        Ok(Section::new(self.text, name, self.span.start, table))
    }

    /// Reads an array of tables, each beginning with `[[key]]`.
    pub(super) fn sections(&self) -> ConfigResult<Vec<Section<'t>>> {
        let name = format!("[[{}]]", self.key);
        let wrong = || self.wrong(format!("begin each one with {name}"));
        let tables = self.value.as_array().ok_or_else(wrong)?.iter();
        let section = |value: &'t Spanned<DeValue<'t>>| {
            let table = value.get_ref().as_table()?;
            Some(Section::new(self.text, name.clone(), value.span().start, table))
        };
        tables.map(section).collect::<Option<_>>().ok_or_else(wrong)
    }
}

/// Returns the known name that is most similar to a mistyped one, or `""` if there are no known names.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> &'a str {
    most_similar(typed, known, |name| name).map_or("", |(_, name)| name)
}

/// Returns the first typographic quotation mark of a line that is not part of a text. TOML does not know these marks.
pub(super) fn typographic_quote(line: &str) -> Option<char> {
    // The mark that began a text, and the first typographic one since then.
    let (mut open, mut inside) = (None, None);
    for c in line.chars() {
        let is_typographic = matches!(c, '“' | '”' | '„' | '‟' | '‘' | '’' | '‚' | '«' | '»');
        match open {
            Some(mark) if c == mark => (open, inside) = (None, None),
            Some(_) => inside = inside.or(Some(c).filter(|_| is_typographic)),
            None if is_typographic => return Some(c),
            None if c == '#' => return None,
            None => open = Some(c).filter(|c| matches!(c, '"' | '\'')),
        }
    }
    // A text that does not end on its line may end with such a mark.
    inside
}
