//! Regular expressions of the language. Each thread keeps the ones that it compiled last: at most [`MOST_KEPT`], each with
//! [`LARGEST`] for the program, twice as much for the cache of a search, and more for many groups.

use std::{cell::RefCell, rc::Rc};

use jaq_core::{
    Error, RunPtr, ValT as _,
    native::{self, Fun, bome, v},
};
use regex::{Regex, RegexBuilder};

use super::{
    budget,
    evaluator::Fenced,
    json::beginning,
    value::{JqValue, ValueError, ValueResult},
};

/// Number of regular expressions that a thread keeps.
const MOST_KEPT: usize = 16;
/// Largest compiled regular expression: 1 MiB.
const LARGEST: usize = 1 << 20;
/// Longest text of a regular expression, in bytes: 16 KiB.
const LONGEST: usize = 16 << 10;
/// Most groups of a regular expression. A search for them needs memory for each group and state.
const MOST_GROUPS: usize = 32;
/// Most flags of a regular expression.
const MOST_FLAGS: usize = 16;
/// Estimated memory to parse a byte of a regular expression, for the budget. A class such as `\\pL` has hundreds of ranges.
const PARSED: usize = 2048;
/// Characters of a regular expression that a message shows.
const MOST_SHOWN: usize = 40;

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
                    .and_then(|it| Ok(it.regex.is_match(cv.1.as_text()?).into())),
            )
        }),
        ("matches", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(found(&cv.1, &regex, &flags, true, false))
        }),
        ("split_matches", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(found(&cv.1, &regex, &flags, true, true))
        }),
        ("split_", |mut cv| {
            let (flags, regex) = (cv.0.pop_var(), cv.0.pop_var());
            bome(found(&cv.1, &regex, &flags, false, true))
        }),
    ];
    let functions =
        functions.into_iter().map(|(name, function)| native::run::<Fenced>((name, v(2), function)));
    let captured: RunPtr<Fenced> = |cv| bome(captured(cv.1));
    functions.chain([native::run::<Fenced>(("capture_of_match", v(0), captured))])
}

/// Returns the object of the named captures of a match.
fn captured(captures: JqValue) -> ValueResult {
    let [name, string] = ["name", "string"].map(JqValue::text);
    let mut members = Vec::new();
    for capture in captures.values() {
        let capture = capture?;
        if let name @ JqValue::Str(_) = capture.clone().index(&name)? {
            members.push((name, capture.index(&string)?));
        }
    }
    JqValue::from_map(members)
}

struct Compiled {
    regex: Rc<Regex>,
    /// Whether all matches are wanted, not only the first.
    is_global: bool,
    skips_empty: bool,
}

impl Compiled {
    fn new(regex: &JqValue, flags: &JqValue) -> Result<Self, ValueError> {
        let (regex, flags) = (regex.as_text()?.as_str(), flags.as_text()?.as_str());
        if regex.len() > LONGEST {
            return Err(Error::str("the regex is longer than 16 KiB"));
        }
        if flags.len() > MOST_FLAGS {
            return Err(Error::str(format_args!("a regex has at most {MOST_FLAGS} flags")));
        }
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
        budget::copy(PARSED * regex.len());
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
            let shown = beginning(regex, MOST_SHOWN);
            Error::str(format_args!("{shown:?} is not a regex: {why}"))
        })?;
        if built.captures_len() > MOST_GROUPS {
            return Err(Error::str(format_args!("a regex has at most {MOST_GROUPS} groups")));
        }
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
    value: &JqValue,
    regex: &JqValue,
    flags: &JqValue,
    matches: bool,
    between: bool,
) -> ValueResult {
    let compiled = Compiled::new(regex, flags)?;
    let text = value.as_text()?.as_str();
    let names: Vec<Option<&str>> = compiled.regex.capture_names().collect();
    let mut offsets = Offsets { text, byte: 0, character: 0 };
    let (mut parts, mut end) = (Vec::new(), 0);
    for captures in compiled.regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        if compiled.skips_empty && whole.is_empty() {
            continue;
        }
        budget::step();
        if between {
            parts.push(JqValue::text(&text[end..whole.start()]));
            end = whole.end();
        }
        if matches {
            let start = offsets.of(whole.start());
            let capture = |(found, name): (Option<regex::Match<'_>>, &Option<&str>)| {
                let found = found?;
                let before = text[whole.start()..found.start()].chars().count();
                Some(member(start + before, found.as_str(), *name))
            };
            parts.push(
                captures.iter().zip(&names).filter_map(capture).collect::<Result<JqValue, _>>()?,
            );
        }
        if !compiled.is_global {
            break;
        }
    }
    if between {
        parts.push(JqValue::text(&text[end..]));
    }
    Ok(parts.into_iter().collect())
}

fn member(offset: usize, found: &str, name: Option<&str>) -> ValueResult {
    let members = [
        (JqValue::text("offset"), JqValue::from(offset)),
        (JqValue::text("length"), JqValue::from(found.chars().count())),
        (JqValue::text("string"), JqValue::text(found)),
    ];
    let name = name.map(|name| (JqValue::text("name"), JqValue::text(name)));
    JqValue::from_map(members.into_iter().chain(name))
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
