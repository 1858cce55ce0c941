//! `--where`, `--sample` and `--column`: which rows and columns are written, and what the record, `verify` and a resumed
//! run make of it.

mod columns;
mod deduped;
mod failed;
mod kept;
mod lists;
mod mapped;
mod masked;
mod missing;
mod preview;
mod pseudonyms;
mod recorded;
mod resumed;
mod split;
mod streamed;

use overmind_export::demo::Options;
use serde_json::Value;

use crate::support::World;

/// Rows with every kind of value that must not change: big numbers, repeated keys, escapes, white space.
pub(crate) fn rows(count: u64) -> Vec<String> {
    let row = |index: u64| {
        let topic = ["billing", "search", "login"][(index % 3) as usize];
        let role = if index.is_multiple_of(4) { "user" } else { "assistant" };
        let persona =
            if index.is_multiple_of(5) { "null".to_owned() } else { format!(r#""angry {index}""#) };
        let trace =
            if index.is_multiple_of(7) { r#","source_trace_id":"t","bad":"\ud800""# } else { "" };
        format!(
            r#"{{"id":"00000000-0000-4000-8000-{index:012}","order":{index},"input":{{ "messages": [
            {{"role":"user","content":"q{index}"}}, {{"role":"{role}","content":"{}"}}], "n": 1e400 }},
            "expected_output":{{"a":1,"a":12345678901234567890.10}},"persona":{persona},
            "tags":{{"topic":"{topic}","passed":{},"score":0.{}}}{trace}}}"#,
            "x".repeat((index % 50) as usize * 10),
            index.is_multiple_of(2),
            index % 10,
        )
    };
    (0..count).map(row).collect()
}

fn world(count: u64) -> World {
    World::with_rows(Options::default(), rows(count))
}

fn record(world: &World, name: &str) -> Value {
    serde_json::from_slice(&world.read(&format!("{name}.manifest.json"))).unwrap()
}

/// The lines of a whole export whose row index has this property.
fn lines_where(world: &World, keep: impl Fn(u64) -> bool) -> String {
    world.export(&["-o", "all.jsonl", "--overwrite"]).ok();
    let all = String::from_utf8(world.read("all.jsonl")).unwrap();
    let kept = all.lines().enumerate().filter(|(index, _)| keep(*index as u64));
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

const BILLING: [&str; 4] =
    ["--where", r#".tags.topic == "billing""#, "--where", ".tags.passed == false"];

fn is_failed_billing(index: u64) -> bool {
    index.is_multiple_of(3) && !index.is_multiple_of(2)
}
