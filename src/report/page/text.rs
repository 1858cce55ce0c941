//! Text from outside on a page. The templates escape it like all text; here it also becomes visible where it would
//! otherwise act on the text around it.

use std::fmt::Write as _;

use maud::{Escaper, Markup, Render, html};

use crate::text::{counted, grouped, line};

/// Text from outside. Characters that control the direction of other text, and control characters, are shown as their
/// code points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outside<'a>(pub(super) &'a str);

impl Render for Outside<'_> {
    fn render_to(&self, buffer: &mut String) {
        let mut plain = 0;
        for (at, c) in self.0.char_indices().filter(|(_, c)| is_acting(*c)) {
            escape(self.0.get(plain..at), buffer);
            let code = format!("U+{:04X}", u32::from(c));
            html! { span.control { (code) } }.render_to(buffer);
            plain = at + c.len_utf8();
        }
        escape(self.0.get(plain..), buffer);
    }
}

/// Text from outside, in which white space at the begin and at the end is visible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spaced<'a>(pub(super) &'a str);

impl Render for Spaced<'_> {
    fn render_to(&self, buffer: &mut String) {
        let rest = self.0.trim_start();
        let (text, leading) = (rest.trim_end(), self.0.len() - rest.len());
        spaces(self.0.get(..leading), buffer);
        Outside(text).render_to(buffer);
        spaces(rest.get(text.len()..), buffer);
    }
}

/// Shows each character of some white space by its name.
fn spaces(text: Option<&str>, buffer: &mut String) {
    for c in text.unwrap_or_default().chars() {
        let name = match c {
            ' ' => "␣".to_owned(),
            c => format!("U+{:04X}", u32::from(c)),
        };
        html! { span.control { (name) } }.render_to(buffer);
    }
}

/// Escapes text into the buffer.
fn escape(text: Option<&str>, buffer: &mut String) {
    // Writing to a string cannot fail.
    let _ = Escaper::new(buffer).write_str(text.unwrap_or_default());
}

/// Whether a character acts on the text around it: a control character, or one that embeds, overrides or isolates a
/// direction. The marks of a direction belong to ordinary text.
fn is_acting(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t' | '\r')
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Lines of a text that are open: 40. A text that is a little longer is not folded.
const OPEN_LINES: usize = 40;
const SLACK_LINES: usize = 12;
/// Characters of a line, to estimate how many lines a text takes.
const LINE_CHARACTERS: usize = 90;

/// Text in paragraphs, with blocks of code between lines of three backticks. Each paragraph has its own direction. The end
/// of a long text is closed at first.
pub(super) fn prose(text: &str) -> Markup {
    let (open, closed) = folded(blocks(text));
    html! {
        (show(&open))
        @if !closed.is_empty() {
            @let lines = closed.iter().map(TextBlock::lines).sum::<usize>();
            details.rest { summary { (counted(lines as u64, "more line")) } div { (show(&closed)) } }
        }
    }
}

/// Number of lines that a text takes on a page, about.
pub(super) fn lines_of(text: &str) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(LINE_CHARACTERS).max(1)).sum()
}

fn blocks(text: &str) -> Vec<TextBlock> {
    let mut blocks = Vec::new();
    let (mut lines, mut fence) = (Vec::new(), None);
    for line in text.lines() {
        let mark = line.trim_start().strip_prefix("```");
        match (mark, fence) {
            (Some(language), None) => {
                blocks.push(TextBlock::Prose(std::mem::take(&mut lines).join("\n")));
                fence = Some(language.trim());
            }
            (Some(""), Some(language)) => {
                let code = std::mem::take(&mut lines).join("\n");
                blocks.push(TextBlock::Code(language.to_owned(), code));
                fence = None;
            }
            _ => lines.push(line),
        }
    }
    let rest = lines.join("\n");
    blocks.push(match fence {
        Some(language) => TextBlock::Code(language.to_owned(), rest),
        None => TextBlock::Prose(rest),
    });
    blocks
}

/// Splits the blocks of a long text into those that are open, and the others.
fn folded(blocks: Vec<TextBlock>) -> (Vec<TextBlock>, Vec<TextBlock>) {
    if blocks.iter().map(TextBlock::lines).sum::<usize>() <= OPEN_LINES + SLACK_LINES {
        return (blocks, Vec::new());
    }
    let (mut room, mut open, mut closed) = (OPEN_LINES, Vec::new(), Vec::new());
    for block in blocks {
        let lines = block.lines();
        if !closed.is_empty() {
            closed.push(block);
        } else if lines <= room {
            room -= lines;
            open.push(block);
        } else {
            let (head, tail) = block.split(room);
            open.extend(Some(head).filter(|it| it.lines() > 0));
            closed.push(tail);
        }
    }
    (open, closed)
}

fn show(blocks: &[TextBlock]) -> Markup {
    html! {
        @for block in blocks {
            @match block {
                TextBlock::Prose(text) => {
                    @for paragraph in text.split("\n\n").filter(|it| !it.trim().is_empty()) {
                        p dir="auto" { (Outside(paragraph.trim_matches('\n'))) }
                    }
                }
                TextBlock::Code(language, code) => {
                    div.code {
                        @if !language.is_empty() { span.language { (Outside(language)) } }
                        pre tabindex="0" dir="ltr" { code { (Outside(code)) } }
                    }
                }
            }
        }
    }
}

enum TextBlock {
    Prose(String),
    Code(String, String),
}

impl TextBlock {
    fn lines(&self) -> usize {
        match self {
            Self::Prose(text) | Self::Code(_, text) => lines_of(text),
        }
    }

    /// Splits a block after about this number of lines: between lines, and a long line between words.
    fn split(self, lines: usize) -> (Self, Self) {
        let (Self::Prose(text) | Self::Code(_, text)) = &self;
        let (mut end, mut room) = (0, lines);
        for line in text.split_inclusive('\n') {
            let taken = lines_of(line);
            if taken <= room {
                (end, room) = (end + line.len(), room - taken);
                continue;
            }
            if end == 0 || taken > SLACK_LINES {
                let part = line.char_indices().nth(room * LINE_CHARACTERS);
                let part = part.and_then(|(at, _)| line.get(..at)).unwrap_or_default();
                end += part.rfind(' ').map_or(part.len(), |at| at + 1);
            }
            break;
        }
        let (head, tail) = text.split_at(end);
        let (head, tail) = (head.to_owned(), tail.to_owned());
        match self {
            Self::Prose(_) => (Self::Prose(head), Self::Prose(tail)),
            Self::Code(language, _) => {
                (Self::Code(language.clone(), head), Self::Code(language, tail))
            }
        }
    }
}

/// A share in percent, with at most one digit after the point.
pub(super) fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    // Exactly, because 99.9 % is not more than 99.9 %.
    let (thousand, of) = (u128::from(part) * 1000, u128::from(whole));
    if thousand < of {
        return "< 0.1 %".to_owned();
    }
    if thousand > 999 * of {
        return "> 99.9 %".to_owned();
    }
    format!("{:.1} %", part as f64 / whole as f64 * 100.0)
}

/// A number of bytes in binary units, with the exact number in its title.
pub(super) fn bytes(bytes: u64) -> Markup {
    html! { span title=(format!("{} bytes", grouped(bytes))) { (bytes_text(bytes)) } }
}

/// A number of bytes in binary units.
pub(super) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    match bytes {
        0..1024 => counted(bytes, "byte"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    }
}

/// A time of a record, without the letters of its form: `2026-01-31 12:00:00 UTC`.
pub(super) fn time(text: &str) -> Markup {
    let shown = text.strip_suffix('Z').and_then(|it| it.split_once('T'));
    html! {
        time datetime=(line(text)) {
            @match shown {
                Some((date, time)) => { (Outside(date)) " " (Outside(time)) " UTC" }
                None => { (Outside(text)) }
            }
        }
    }
}

/// Two values, of which one can be missing.
pub(super) fn before_and_after([before, after]: &[Option<String>; 2]) -> Markup {
    html! {
        @if let Some(before) = before { del { (Outside(before)) } } " "
        @if let Some(after) = after { ins { (Outside(after)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_acting_characters_are_only_text() {
        let text = "a<b>&\"\u{202E}c\u{2067}\u{0}\u{1b}\n\u{200F}d";
        assert_eq!(
            html! { (Outside(text)) }.into_string(),
            "a&lt;b&gt;&amp;&quot;<span class=\"control\">U+202E</span>c<span class=\"control\">U+2067</span>\
             <span class=\"control\">U+0000</span><span class=\"control\">U+001B</span>\n\u{200F}d"
        );
    }

    #[test]
    fn outer_spaces_are_visible() {
        let shown = |text| html! { (Spaced(text)) }.into_string();
        let space = "<span class=\"control\">␣</span>";
        assert_eq!(shown(" a b\u{a0}"), format!("{space}a b<span class=\"control\">U+00A0</span>"));
        assert_eq!(shown("  "), format!("{space}{space}"));
        assert_eq!(shown("a<b"), "a&lt;b");
    }

    #[test]
    fn fences_are_code() {
        let text = "one\n\ntwo\n```sql\nselect 1\n```\nthree\n```\nnever closed";
        assert_eq!(
            prose(text).into_string(),
            "<p dir=\"auto\">one</p><p dir=\"auto\">two</p><div class=\"code\"><span class=\"language\">sql</span>\
             <pre tabindex=\"0\" dir=\"ltr\"><code>select 1</code></pre></div><p dir=\"auto\">three</p>\
             <div class=\"code\"><pre tabindex=\"0\" dir=\"ltr\"><code>never closed</code></pre></div>"
        );
    }

    #[test]
    fn ends_of_long_texts_are_folded() {
        let short = "line\n".repeat(OPEN_LINES + SLACK_LINES);
        assert!(!prose(&short).into_string().contains("<details"));
        let code = format!("before\n```py\n{}```\nafter", "x = 1\n".repeat(100));
        let page = prose(&code).into_string();
        let (open, rest) =
            page.split_once("<details class=\"rest\"><summary>62 more lines").unwrap();
        assert_eq!((open.matches("x = 1").count(), rest.matches("x = 1").count()), (39, 61));
        // Both parts are code of this language.
        assert_eq!(page.matches("<span class=\"language\">py</span>").count(), 2);
        // A text without line breaks is split between words.
        let page = prose(&"größe ".repeat(2000)).into_string();
        let (open, rest) = page.split_once("<details").unwrap();
        assert!(open.matches("größe ").count() > 500 && rest.matches("größe").count() > 1000);
        assert_eq!(page.matches("größe").count(), 2000);
        // One without words, too.
        let page = prose(&"x".repeat(20_000)).into_string();
        assert_eq!(page.matches('x').count(), 20_000);
    }

    #[test]
    fn shares_never_round_to_all_or_nothing() {
        let shares = [(0, 5), (1, 100_000), (1, 3), (99_999, 100_000), (5, 5), (0, 0)];
        assert_eq!(
            shares.map(|(part, whole)| share(part, whole)),
            ["0 %", "< 0.1 %", "33.3 %", "> 99.9 %", "100 %", "0 %"]
        );
        let borders = [(999, 1000), (9991, 10_000), (1, 1000), (9, 10_000), (333, 333_000)];
        assert_eq!(
            borders.map(|(part, whole)| share(part, whole)),
            ["99.9 %", "> 99.9 %", "0.1 %", "< 0.1 %", "0.1 %"]
        );
    }
}
