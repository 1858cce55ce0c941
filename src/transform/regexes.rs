//! Regular expressions of the language. Each thread keeps the ones that it compiled last: at most [`MOST_KEPT`], each with
//! [`LARGEST`] for the program, twice as much for the cache of a search, and more for many groups.

use std::{cell::RefCell, rc::Rc};

use jaq_core::{
    Bind, Error, RunPtr, ValT as _, ValX, ValXs,
    box_iter::box_once,
    native::{self, Fun, bome, v},
};
use regex::{Regex, RegexBuilder};

mod translate;

use super::{
    budget,
    evaluator::Fenced,
    json::beginning,
    value::{ITEM, JqArray, JqValue, ValueError, ValueResult},
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
    let replaced: RunPtr<Fenced> = |mut cv| {
        let flags = cv.0.pop_var();
        let (term, context) = cv.0.pop_fun();
        let regex = cv.0.pop_var();
        let texts =
            replaced(&cv.1, &regex, &flags, |captures| term.run((context.clone(), captures)));
        match texts {
            Ok(texts) => Box::new(texts.into_iter().map(Ok)),
            Err(error) => box_once(Err(error)),
        }
    };
    let arguments = [Bind::Var(()), Bind::Fun(()), Bind::Var(())].into();
    functions.chain([
        native::run::<Fenced>(("capture_of_match", v(0), captured)),
        native::run::<Fenced>(("sub", arguments, replaced)),
    ])
}

/// Replaces matches by the results for their captures. The first text has the first result of each match, and so on. The
/// text stays as it is if no match has a result.
fn replaced<'a>(
    value: &JqValue,
    regex: &JqValue,
    flags: &JqValue,
    by: impl Fn(JqValue) -> ValXs<'a, JqValue>,
) -> ValX<'a, Vec<JqValue>, JqValue> {
    let JqValue::Arr(parts) = found(value, regex, flags, true, true)? else {
        return Ok(Vec::new());
    };
    let mut texts = Vec::new();
    let mut most = 0;
    for part in JqArray::into_items(parts) {
        texts.push(match part {
            captures @ JqValue::Arr(_) => {
                let results: Vec<JqValue> = by(captured(captures)?).collect::<Result<_, _>>()?;
                budget::copy(ITEM.saturating_mul(results.len()));
                most = most.max(results.len());
                Err(results)
            }
            between => Ok(between),
        });
    }
    if most == 0 {
        return Ok(vec![value.clone()]);
    }
    let text = |place: usize| {
        texts.iter().try_fold(JqValue::text(""), |text, part| match part {
            Ok(between) => text + between.clone(),
            Err(results) => text + results.get(place).cloned().unwrap_or_default(),
        })
    };
    Ok((0..most).map(text).collect::<Result<_, _>>()?)
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
}

impl Compiled {
    fn new(regex: &JqValue, flags: &JqValue) -> Result<Self, ValueError> {
        let regex = regex.as_text()?.as_str();
        let flags = match flags {
            JqValue::Null => "",
            flags => flags.as_text()?.as_str(),
        };
        let is_global = flags.contains('g');
        let kept = KEPT.with_borrow_mut(|kept| {
            let at = kept.iter().position(|it| it.0 == regex && it.1 == flags)?;
            kept[..=at].rotate_right(1);
            Some(kept[0].2.clone())
        });
        if let Some(regex) = kept {
            return Ok(Self { regex, is_global });
        }
        if regex.len() <= LONGEST {
            budget::copy(PARSED * regex.len());
        }
        let built = Rc::new(built(regex, flags).map_err(|(why, _)| Error::str(why))?);
        KEPT.with_borrow_mut(|kept| {
            kept.insert(0, (regex.to_owned(), flags.to_owned(), built.clone()));
            kept.truncate(MOST_KEPT);
        });
        Ok(Self { regex: built, is_global })
    }
}

/// Compiles a regular expression.
///
/// # Errors
/// What is wrong, and whether it is in the flags.
pub(super) fn built(regex: &str, flags: &str) -> Result<Regex, (String, bool)> {
    let shown = beginning(regex, MOST_SHOWN);
    let wrong = |why: &str| (format!("{shown:?} is not a regex: {why}"), false);
    if regex.len() > LONGEST {
        return Err(("the regex is longer than 16 KiB".to_owned(), false));
    }
    if regex.contains('\u{8}') {
        return Err(wrong(
            "\\b in a string is a backspace: write two backslashes for a word boundary",
        ));
    }
    if let Some(why) = wrong_flags(flags) {
        return Err((why, true));
    }
    let translated = translate::translated(regex, flags.contains('x'));
    let built = RegexBuilder::new(&translated.map_err(|why| wrong(&why))?)
        .size_limit(LARGEST)
        .dfa_size_limit(2 * LARGEST)
        .case_insensitive(flags.contains('i'))
        .ignore_whitespace(flags.contains('x'))
        .dot_matches_new_line(flags.contains('p'))
        .build()
        .map_err(|error| {
            // The message of the library shows the position on lines of their own.
            let why = error.to_string();
            wrong(why.lines().last().unwrap_or_default().trim_start_matches("error: "))
        })?;
    if built.captures_len() > MOST_GROUPS {
        return Err((format!("a regex has at most {MOST_GROUPS} groups"), false));
    }
    Ok(built)
}

/// Returns what is wrong with flags. The flag `s` changes nothing: in jq, `^` and `$` do not match at lines anyway.
fn wrong_flags(flags: &str) -> Option<String> {
    if flags.len() > MOST_FLAGS {
        return Some(format!("a regex has at most {MOST_FLAGS} flags"));
    }
    let flag = flags.chars().find(|flag| !"gixsp".contains(*flag))?;
    Some(match flag {
        'l' => {
            "the flag l, longest match, is not supported: put longer alternatives first".to_owned()
        }
        'n' => "the flag n, no empty match, is not supported: select matches with .length > 0"
            .to_owned(),
        other => format!("{} is not a flag of a regex", other.escape_debug()),
    })
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
    let is_end = |name: &Option<&str>| name.is_some_and(|name| name.starts_with(translate::END));
    let mut offsets = Offsets { text, byte: 0, character: 0 };
    let (mut parts, mut end) = (Vec::new(), 0);
    // The end of the text is a place for an empty match, too.
    let mut next = Some(0);
    while let Some(from) = next
        && let Some(captures) = compiled.regex.captures_at(text, from)
        && let Some(whole) = captures.get(0)
    {
        budget::step();
        // The line break that `$` took is not a part of the match.
        let mut ends = captures.iter().zip(&names).filter(|(_, name)| is_end(name));
        let limit = ends.find_map(|(end, _)| end).map_or(text.len(), |end| end.start());
        let whole = whole.start()..whole.end().min(limit);
        if between {
            parts.push(JqValue::text(&text[end..whole.start]));
        }
        end = whole.end;
        if matches {
            let start = offsets.of(whole.start);
            let mut groups = vec![member(start, Some(&text[whole.clone()]), None)?];
            for (group, name) in captures.iter().zip(&names).skip(1) {
                if is_end(name) {
                    continue;
                }
                let group = group.map(|it| it.start()..it.end().min(limit));
                let place = group
                    .as_ref()
                    .map_or(start, |group| start + text[whole.start..group.start].chars().count());
                groups.push(member(place, group.map(|group| &text[group]), Some(*name))?);
            }
            parts.push(groups.into_iter().collect());
        }
        next = if !compiled.is_global {
            None
        } else if whole.is_empty() {
            text[end..].chars().next().map(|c| end + c.len_utf8())
        } else {
            Some(end)
        };
    }
    if between {
        parts.push(JqValue::text(&text[end..]));
    }
    Ok(parts.into_iter().collect())
}

/// Returns the object of a match, or of a group, which has a name or null. A group without a match is null.
fn member(offset: usize, found: Option<&str>, name: Option<Option<&str>>) -> ValueResult {
    let offset = if found.is_some() { JqValue::from(offset) } else { JqValue::from(-1_isize) };
    let length = found.map_or(0, |found| found.chars().count());
    let text_or_null = |text: Option<&str>| text.map_or(JqValue::Null, JqValue::text);
    let members = [
        (JqValue::text("offset"), offset),
        (JqValue::text("length"), JqValue::from(length)),
        (JqValue::text("string"), text_or_null(found)),
    ];
    let name = name.map(|name| (JqValue::text("name"), text_or_null(name)));
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
