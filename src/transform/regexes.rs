//! Regular expressions of the language. Each thread keeps the ones that it compiled last.

use std::{cell::RefCell, rc::Rc};

use jaq_core::{
    Error, RunPtr, ValT as _,
    native::{self, Fun, bome, v},
};
use jaq_json::{Val, ValR};
use regex::{Regex, RegexBuilder};

use super::budget::{Fenced, StepBudget};

/// Number of regular expressions that a thread keeps.
const MOST_KEPT: usize = 16;
/// Largest compiled regular expression: 1 MiB.
const LARGEST: usize = 1 << 20;
/// Estimated memory of a capture, for the budget: an object with four members.
const CAPTURE_BYTES: usize = 512;

thread_local! {
    static KEPT: RefCell<Vec<(String, String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

/// The own functions with regular expressions: text, regular expression and flags to matches.
pub(super) fn own() -> impl Iterator<Item = Fun<Fenced>> {
    let functions: [(&'static str, RunPtr<Fenced>); 4] = [
        ("test", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(
                Compiled::new(&regex, &flags)
                    .and_then(|it| Ok(it.regex.is_match(text(&cv.1)?).into())),
            )
        }),
        ("matches", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(found(&cv.1, &regex, &flags, true, false, cv.0.data().budget))
        }),
        ("split_matches", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(found(&cv.1, &regex, &flags, true, true, cv.0.data().budget))
        }),
        ("split_", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(found(&cv.1, &regex, &flags, false, true, cv.0.data().budget))
        }),
    ];
    functions.into_iter().map(|(name, function)| native::run::<Fenced>((name, v(2), function)))
}

fn text(value: &Val) -> Result<&str, Error<Val>> {
    match value {
        Val::TStr(bytes) => str::from_utf8(bytes).map_err(Error::str),
        _ => Err(Error::typ(value.clone(), "string")),
    }
}

struct Compiled {
    regex: Rc<Regex>,
    /// Whether all matches are wanted, not only the first.
    is_global: bool,
    skips_empty: bool,
}

impl Compiled {
    fn new(regex: &Val, flags: &Val) -> Result<Self, Error<Val>> {
        let (regex, flags) = (text(regex)?, text(flags)?);
        let is_global = flags.contains('g');
        let skips_empty = flags.contains('n');
        let kept = KEPT.with_borrow_mut(|kept| {
            let at = kept.iter().position(|it| it.0 == regex && it.1 == flags)?;
            kept[..=at].rotate_right(1);
            Some(kept[0].2.clone())
        });
        if let Some(regex) = kept {
            return Ok(Self { regex, is_global, skips_empty });
        }
        let mut builder = RegexBuilder::new(regex);
        builder.size_limit(LARGEST).dfa_size_limit(2 * LARGEST);
        for flag in flags.chars() {
            match flag {
                'g' | 'n' => {}
                'i' => drop(builder.case_insensitive(true)),
                'x' => drop(builder.ignore_whitespace(true)),
                's' => drop(builder.dot_matches_new_line(true)),
                'p' => drop(builder.dot_matches_new_line(true).multi_line(true)),
                'l' => drop(builder.swap_greed(true)),
                _ => return Err(Error::str(format_args!("{flag} is not a flag of a regex"))),
            }
        }
        let built = builder.build().map_err(|error| {
            // The message of the library shows the position on lines of their own.
            let why = error.to_string();
            let why =
                why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::str(format_args!("{regex:?} is not a regex: {why}"))
        })?;
        let built = Rc::new(built);
        KEPT.with_borrow_mut(|kept| {
            kept.insert(0, (regex.to_owned(), flags.to_owned(), built.clone()));
            kept.truncate(MOST_KEPT);
        });
        Ok(Self { regex: built, is_global, skips_empty })
    }
}

/// Returns the matches, the texts between them, or both in their order.
fn found(
    value: &Val,
    regex: &Val,
    flags: &Val,
    matches: bool,
    between: bool,
    budget: &StepBudget<'_>,
) -> ValR {
    let compiled = Compiled::new(regex, flags)?;
    let text = text(value)?;
    let names: Vec<Option<&str>> = compiled.regex.capture_names().collect();
    let mut offsets = Offsets { text, byte: 0, character: 0 };
    let (mut parts, mut end) = (Vec::new(), 0);
    for captures in compiled.regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        if compiled.skips_empty && whole.is_empty() {
            continue;
        }
        budget.copy(CAPTURE_BYTES * names.len() + whole.len());
        if between {
            parts.push(Val::from(text[end..whole.start()].to_owned()));
            end = whole.end();
        }
        if matches {
            let start = offsets.of(whole.start());
            let capture = |(found, name): (Option<regex::Match<'_>>, &Option<&str>)| {
                let found = found?;
                let before = text[whole.start()..found.start()].chars().count();
                Some(member(start + before, found.as_str(), *name))
            };
            parts
                .push(captures.iter().zip(&names).filter_map(capture).collect::<Result<Val, _>>()?);
        }
        if !compiled.is_global {
            break;
        }
    }
    if between {
        parts.push(Val::from(text[end..].to_owned()));
    }
    Ok(parts.into_iter().collect())
}

fn member(offset: usize, found: &str, name: Option<&str>) -> ValR {
    let key = |key: &str| Val::from(key.to_owned());
    let members = [
        (key("offset"), Val::from(offset)),
        (key("length"), Val::from(found.chars().count())),
        (key("string"), Val::from(found.to_owned())),
    ];
    let name = name.map(|name| (key("name"), Val::from(name.to_owned())));
    Val::from_map(members.into_iter().chain(name))
}

/// Converts positions in bytes, which must not fall, to positions in characters.
struct Offsets<'a> {
    text: &'a str,
    byte: usize,
    character: usize,
}

impl Offsets<'_> {
    fn of(&mut self, byte: usize) -> usize {
        self.character += self.text[self.byte..byte].chars().count();
        self.byte = byte;
        self.character
    }
}
