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

/// Text in paragraphs, with blocks of code between lines of three backticks. Each paragraph has its own direction.
pub(super) fn prose(text: &str) -> Markup {
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
    html! {
        @for block in &blocks {
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
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    let text = match bytes {
        0..1024 => counted(bytes, "byte"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    };
    html! { span title=(format!("{} bytes", grouped(bytes))) { (text) } }
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
