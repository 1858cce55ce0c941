//! Reports: their figures, their rows, and that text from outside is only text. Browsers look at them in `.ci/report.py`.

mod changed_places;
mod changed_rows;
mod exact;
mod messages;
mod odd;
mod outside;
mod spelling;
#[cfg(unix)]
mod stopped;
mod worth_a_look;

use std::{collections::BTreeMap, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use overmind_export::demo::Options;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    rows,
    support::{ID, Ran, World, command, entries},
};

/// Rows with conversations, labels, personas, duplicates, and empty outputs.
fn conversations(count: u64) -> Vec<String> {
    let row = |number: u64| {
        // Every tenth row repeats the input of the row before.
        let of = number - u64::from(number % 10 == 9);
        let turn = |role: &str, text: String| json!({"role": role, "content": text});
        let mut messages = vec![turn("system", "Answer briefly.".to_owned())];
        messages.extend((0..=of % 3).map(|it| turn("user", format!("question {of}.{it}: größe"))));
        let output = match number % 4 {
            0 => json!({"answer": format!("answer {number}")}),
            1 => json!({"answer": ""}),
            2 => json!("y"),
            _ => Value::Null,
        };
        let persona = (!number.is_multiple_of(5)).then(|| format!("persona {}", number % 5));
        let row = json!({
            "id": rows::id(number), "order": number, "input": {"messages": messages, "locale": "en"},
            "expected_output": output, "persona": persona, "tags": {"topic": format!("t{}", number % 7), "n": number % 2},
        });
        row.to_string()
    };
    (0..count).map(row).collect()
}

fn world(rows: Vec<String>) -> World {
    World::with_rows(Options::default(), rows)
}

fn export(world: &World, arguments: &[&str]) {
    world.export(&[&["-q"], arguments].concat()).ok();
}

fn run(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(command(world.folder.path()).arg("report").args(arguments))
}

/// Runs `report -o -` with these arguments, and returns the page.
#[track_caller]
fn page(world: &World, arguments: &[&str]) -> String {
    run(world, &[&["-q", "-o", "-"], arguments].concat()).ok().stdout
}

/// The text of some HTML, with a space for each tag but those within a line, and single white space.
fn text(html: &str) -> String {
    const INLINE: [&str; 4] = ["a", "code", "span", "strong"];
    let mut out = String::new();
    for (index, piece) in html.split('<').enumerate() {
        let (tag, text) = match index {
            0 => ("", piece),
            _ => piece.split_once('>').unwrap_or((piece, "")),
        };
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default();
        if !INLINE.contains(&name) {
            out.push(' ');
        }
        out.push_str(text);
    }
    let unescaped = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    unescaped.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The section with this id.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{id}\"")).unwrap();
    let end = page[start..].find("</section>").unwrap();
    &page[start..start + end]
}

#[track_caller]
fn assert_has(page: &str, texts: &[&str]) {
    let page = text(page);
    for wanted in texts {
        assert!(page.contains(wanted), "{wanted:?} is not in: {page}");
    }
}

#[test]
fn page_says_what_is_known_of_the_export() {
    let world = world(conversations(300));
    export(&world, &["-o", "rows.parquet"]);
    let manifest = |name: &str| -> Value {
        serde_json::from_slice(&world.read(&format!("{name}.manifest.json"))).unwrap()
    };
    let of_file = page(&world, &["rows.parquet"]);
    let id = ID.to_string();
    assert_has(
        &of_file,
        &[
            "Complete: 300 of 300 rows, proven",
            "every row was read, and equals the recorded digest",
            &id,
        ],
    );
    export(
        &world,
        &["-o", "parts/", "--rows-per-file", "100", "--page-size", "50", "--version-min", "1"],
    );
    let of_parts = page(&world, &["parts"]);
    let stated = manifest("parts");
    assert_has(
        &of_parts,
        &[
            "Complete: 300 of 300 rows, proven",
            "version_min=1",
            stated["digest"].as_str().unwrap(),
            stated["parts"][2]["sha256"].as_str().unwrap(),
            "3 files",
            "part-00002",
            &format!("overmind-export {}", env!("CARGO_PKG_VERSION")),
        ],
    );
    export(&world, &["-o", "few.jsonl", "--limit", "20", "--manifest"]);
    assert_has(
        &page(&world, &["few.jsonl"]),
        &["Partial: 20 of 300 rows of the dataset (6.7 %) were read for it, because a limit,"],
    );
    export(&world, &["-o", "kept.parquet", "--where", ".order < 10"]);
    assert_has(
        &page(&world, &["kept.parquet"]),
        &[
            "Complete: made of all 300 rows of the dataset, proven; a transformation kept 10 of them.",
            "Filters of the API none Conditions .order < 10",
        ],
    );
    export(&world, &["-o", "rows.jsonl"]);
    assert_has(
        &page(&world, &["rows.jsonl"]),
        &["Unknown: the file has no record, so nothing says whether rows are missing."],
    );
}

/// Figures that this test computes from the served rows.
#[test]
fn figures_equal_those_of_the_rows() {
    let count = 2500_u64;
    let served = conversations(count);
    let world = world(served.clone());
    export(&world, &["-o", "rows.parquet"]);
    let page = page(&world, &["rows.parquet"]);
    let data = section(&page, "data");
    let parsed: Vec<BTreeMap<String, &serde_json::value::RawValue>> =
        served.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let of = |name: &str| -> Vec<&str> {
        parsed.iter().map(|row| row[name].get()).filter(|text| *text != "null").collect()
    };
    let grouped = |number: usize| match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    };
    // The overview: nulls, distinct values if they are few, and lengths.
    for name in ["input", "expected_output", "tags"] {
        let values = of(name);
        let mut lengths: Vec<_> = values.iter().map(|text| text.chars().count()).collect();
        lengths.sort_unstable();
        let distinct = values.iter().collect::<std::collections::BTreeSet<_>>().len();
        let distinct = if distinct > 16_384 { "≈".to_owned() } else { grouped(distinct) };
        let start = format!("{name} json {} {distinct}", grouped(count as usize - values.len()));
        let end = grouped(lengths[lengths.len() - 1]);
        let line = text(data);
        let line = line.split(&start).nth(1).unwrap_or_else(|| panic!("{start:?} in {line}"));
        let figures = line.split_whitespace().filter(|it| *it != "≈");
        let figures: Vec<&str> = figures.take(4).collect();
        // Behind an estimate is its number.
        let figures = &figures[usize::from(start.ends_with('≈'))..];
        let median = grouped(lengths[lengths.len().div_ceil(2) - 1]);
        assert_eq!(figures[..3], [grouped(lengths[0]), median, end], "{name}");
        // The bars of the histogram count every value.
        let column = data.split(&format!("id=\"column-{name}\"")).nth(1).unwrap();
        let chart = column.split("</svg>").next().unwrap();
        let bars = chart.split("data-rows=\"").skip(1);
        let bars: usize =
            bars.map(|it| it.split('"').next().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(bars, values.len(), "{name}");
    }
    let empty = served.iter().filter(|row| row.contains(r#"{"answer":""}"#)).count();
    let mut inputs = of("input");
    inputs.sort_unstable();
    let repeated = inputs.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let with = |part: &str| served.iter().filter(|row| row.contains(part)).count();
    let users: usize = served.iter().map(|row| row.matches(r#""role":"user""#).count()).sum();
    let share = |part: usize| format!("({:.1} % of all rows)", part as f64 / count as f64 * 100.0);
    assert_has(
        &page,
        &[
            &format!(
                "{repeated} rows {} repeat the input of an earlier row: {repeated} inputs occur more",
                share(repeated)
            ),
            &format!("{empty} rows {} with an empty expected output", share(empty)),
            &format!("persona 1 {}", with(r#""persona":"persona 1""#)),
            &format!("topic=t3 {}", with(r#""topic":"t3""#)),
            &format!("user {}", grouped(users)),
            &format!("system {}", grouped(served.len())),
            &format!("answer string 50.0 % {} rows", grouped(with(r#""answer""#))),
            "It rises by one from row to row.",
        ],
    );
}

#[test]
fn data_and_rows_do_not_depend_on_the_format() {
    let world = world(conversations(5000));
    export(&world, &["-o", "rows.parquet"]);
    export(&world, &["-o", "rows.arrow"]);
    export(&world, &["-o", "rows.csv.gz", "--manifest"]);
    export(
        &world,
        &["-o", "parts/", "--format", "jsonl", "--rows-per-file", "700", "--page-size", "70"],
    );
    let first = page(&world, &["rows.parquet"]);
    assert_eq!(page(&world, &["rows.parquet"]), first);
    for name in ["rows.arrow", "rows.csv.gz", "parts"] {
        let other = page(&world, &[name]);
        for id in ["odd", "data", "rows"] {
            assert_eq!(section(&other, id), section(&first, id), "{name}");
        }
    }
}

#[test]
fn shown_rows_are_chosen_by_place_size_and_seed() {
    let world = world(conversations(1000));
    export(&world, &["-o", "rows.parquet"]);
    let chosen = |arguments: &[&str]| -> Vec<String> {
        let page = page(&world, &[&["rows.parquet"], arguments].concat());
        let rows = page.split("aria-label=\"Row ").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
    };
    let first = chosen(&["--rows", "20"]);
    // Four first rows, two of the longest, two duplicates, two that figures name, and ten at random; some are several
    // of these, and leave room for more at random.
    assert_eq!(first[..4], ["1", "2", "3", "4"]);
    assert_eq!(first.len(), 20, "{first:?}");
    assert_eq!(chosen(&[]).len(), 200);
    assert!(first.contains(&"10".to_owned()), "the first duplicate: {first:?}");
    let other = chosen(&["--rows", "20", "--seed", "1"]);
    assert_ne!(first, other);
    assert_eq!(chosen(&["--rows", "1000"]).len(), 1000);
    assert_eq!(chosen(&["--rows", "1"]), ["1"]);
    let ran = run(&world, &["rows.parquet", "--rows", "10001"]);
    insta::assert_snapshot!(ran.told(&world), @r#"
    exit 2
    error: "10001" is not a valid number of rows: a report shows at most 10,000 rows
    "#);
}

/// Texts that would do something if they reached the page as more than text.
const HOSTILE: [&str; 6] = [
    "<script>window.ran=1</script>",
    "\"><img src=x onerror=window.ran=1>",
    "</style><style>*{display:none}</style>",
    "\u{202E}reversed\u{2066}\u{1b}[31m\u{0}",
    "javascript:window.ran=1",
    "<a href=\"data:text/html,<script>window.ran=1</script>\">link</a>&lt;b&gt;'`{{7*7}}",
];

#[test]
fn empty_dataset_has_a_page() {
    let world = world(Vec::new());
    export(&world, &["-o", "rows.parquet"]);
    export(&world, &["-o", "rows.jsonl"]);
    for name in ["rows.parquet", "rows.jsonl"] {
        let page = page(&world, &[name]);
        assert_has(
            &page,
            &["The export has no rows. Its columns are:", "expected_output json 0 0", "Rows 0"],
        );
    }
    assert_has(&page(&world, &["rows.parquet"]), &["Complete: 0 of 0 rows, proven."]);
}

#[test]
fn conversations_have_turns_and_code() {
    let messages = json!([[
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "name": "f", "content": "مرحبا"},
        {"role": "assistant", "content": "Run:\n\n```py\nprint(1)\n```\nDone."},
    ]]);
    let row = json!({"id": rows::id(1), "input": {"question": messages, "seed": 1.50}, "expected_output": "ok"});
    let row = row.to_string().replace("1.5", "1.50");
    let world = world(vec![row]);
    export(&world, &["-o", "rows.parquet"]);
    let page = page(&world, &["rows.parquet"]);
    let rows = section(&page, "rows");
    for part in [
        "<ol class=\"conversation\"><li class=\"turn system\"><p class=\"role\">system</p><div class=\"content\">\
         <p dir=\"auto\">Be kind.</p></div></li>",
        "<p dir=\"auto\">Look:</p>",
        "<p class=\"role\">tool <span class=\"name\">f</span></p>",
        "<p dir=\"auto\">مرحبا</p>",
        "<div class=\"code\"><span class=\"language\">py</span><pre tabindex=\"0\" dir=\"ltr\"><code>print(1)</code></pre></div>\
         <p dir=\"auto\">Done.</p>",
        "<code>1.50</code>",
    ] {
        assert!(rows.contains(part), "{part} is not in {rows}");
    }
    assert_has(rows, &["tool_calls", "\"name\": \"f\"", "Expected output ok"]);
}

#[test]
fn long_values_are_cut_and_the_page_says_so() {
    let long = "word ".repeat(20_000);
    let input = format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}]}}"#);
    let world = world(vec![format!(r#"{{"id":"{}","input":{input}}}"#, rows::id(1))]);
    export(&world, &["-o", "rows.parquet"]);
    let page = page(&world, &["rows.parquet"]);
    assert!(page.len() < 100_000, "{}", page.len());
    // 32 KiB of the value are shown.
    let left = input.len() - (32 << 10);
    let left = format!("The last {},{:03} bytes are not shown.", left / 1000, left % 1000);
    assert_has(section(&page, "rows"), &["user word word", &left]);
}

#[test]
fn page_is_published_in_one_step() {
    let world = world(conversations(20));
    export(&world, &["-o", "rows.parquet"]);
    export(&world, &["-o", "parts/"]);
    let ran = run(&world, &["rows.parquet"]).ok();
    assert!(
        ran.stderr.starts_with("20 rows · ") && ran.stderr.ends_with(" · rows.report.html\n"),
        "{ran:?}"
    );
    run(&world, &["-q", "parts/"]).ok();
    assert_eq!(
        world.entries(),
        ["parts", "parts.manifest.json", "parts.report.html", "rows.parquet", "rows.report.html"]
    );
    let ran = run(&world, &["rows.parquet"]);
    insta::assert_snapshot!(ran.told(&world), @r"
    exit 73
    error: rows.report.html: exists already
      hint: give --overwrite to replace it, or another path
    ");
    // The source comes first.
    let ran = run(&world, &["rows.parqet", "-o", "rows.report.html"]);
    assert!(ran.stderr.contains("cannot read rows.parqet"), "{ran:?}");
    let ran = run(&world, &["rows.parqet", "parts", "-o", "rows.report.html"]);
    assert!(ran.stderr.contains("cannot read rows.parqet"), "{ran:?}");
    fs::write(world.path("rows.report.html"), "old").unwrap();
    run(&world, &["-q", "rows.parquet", "--overwrite"]).ok();
    assert_eq!(world.read("rows.report.html"), page(&world, &["rows.parquet"]).as_bytes());
    for (arguments, message) in [
        (["rows.parquet", "-o", "page.txt"], "a report is a page: use a name that ends in .html"),
        (["parts", "-o", "parts/page.html"], "it is inside the export"),
        (["missing", "-o", "page.html"], "error: cannot read missing"),
    ] {
        let ran = run(&world, &arguments);
        assert!(ran.code != Some(0) && ran.stderr.contains(message), "{ran:?}");
    }
    // A link into the export leads into it, too.
    #[cfg(unix)]
    {
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(world.path(to), world.path(name)).unwrap();
        };
        link("parts/page.html", "link.html");
        link("link.html", "again.html");
        link("parts", "folder");
        for output in ["link.html", "again.html", "folder/page.html"] {
            let ran = run(&world, &["parts", "-o", output]);
            assert!(
                ran.code == Some(2) && ran.stderr.contains("it is inside the export"),
                "{ran:?}"
            );
        }
    }
    assert_eq!(entries(&world.path("parts")), ["part-00000.parquet"]);
    assert!(!world.path("page.html").exists());
}

#[test]
fn rows_that_differ_from_the_record_are_refused() {
    let world = world(conversations(50));
    export(&world, &["-o", "rows.csv", "--manifest"]);
    let before = String::from_utf8(world.read("rows.csv")).unwrap();
    fs::write(world.path("rows.csv"), before.replacen("question 0.0", "question 0.1", 1)).unwrap();
    let ran = run(&world, &["rows.csv", "-o", "page.html"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(!world.path("page.html").exists());
    fs::write(world.path("wrong.jsonl"), "{\"id\":\"a\",\"input\":{\"x\":}}\n").unwrap();
    let ran = run(&world, &["wrong.jsonl", "-o", "page.html"]);
    assert_eq!(ran.code, Some(65), "{ran:?}");
}

/// The browser is a script here, which notes what it was given.
#[cfg(target_os = "linux")]
#[test]
fn open_gives_the_page_to_the_browser() {
    use std::os::unix::fs::PermissionsExt;

    let world = world(conversations(5));
    export(&world, &["-o", "rows.parquet"]);
    fs::create_dir(world.path("bin")).unwrap();
    let browser = world.path("bin/xdg-open");
    fs::write(&browser, "#!/bin/sh\nprintf '%s|' \"$@\" > \"$0.opened\"\n").unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", world.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = command(world.folder.path());
    command.env("PATH", path).args([
        "report",
        "rows.parquet",
        "-q",
        "--open",
        "-o",
        "./-page.html",
    ]);
    Ran::of(&mut command).ok();
    let opened = String::from_utf8(world.read("bin/xdg-open.opened")).unwrap();
    assert_eq!(opened, format!("{}|", world.path("-page.html").display()));
    let ran = run(&world, &["rows.parquet", "-o", "-", "--open"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn two_exports_show_what_changed() {
    let world = world(conversations(200));
    export(&world, &["-o", "a.parquet"]);
    let edited = |row: String| match row.contains("\"order\":7,") {
        true => row.replace("answer", "reply").replace("question 7.0", "query 7.0 <b>"),
        false => row,
    };
    let rows: Vec<String> = conversations(210).into_iter().skip(5).map(edited).collect();
    world.server.replace(vec![overmind_export::demo::Dataset::from_rows("rows", rows).with_id(ID)]);
    export(&world, &["-o", "b/"]);
    let both = page(&world, &["a.parquet", "b"]);
    let changes = section(&both, "changes");
    assert_has(
        changes,
        &[
            "Added 10 (4.9 % of 205 rows now)",
            "Removed 5 (2.5 % of 200 rows before)",
            "Changed 1 (0.5 % of 200 rows before)",
            "Unchanged 194 (97.0 % of 200 rows before)",
            "input 1 100 %",
            ".messages[1].content 2 words removed, 3 added",
            "Added rows: 10",
            "Removed rows: 5",
        ],
    );
    assert!(
        changes.contains("<del>question</del><ins>query 7.0</ins>")
            && changes.contains("<ins>&lt;b&gt;:</ins>"),
        "{changes}"
    );
    assert_eq!(changes.matches("<article").count(), 1);
    assert_eq!(changes.matches("<li class=\"change\"").count(), 15);
    // The rest of the page is about the later one.
    assert_eq!(section(&both, "data"), section(&page(&world, &["b"]), "data"));
    let masked = page(&world, &["a.parquet", "b", "--mask", ".input, .persona, .expected_output"]);
    assert!(!masked.contains("question") && !masked.contains("persona 1"));
    assert_has(section(&masked, "changes"), &["It differs only in what the report does not show."]);
    let none = page(&world, &["a.parquet", "b", "--no-rows"]);
    assert_eq!(section(&none, "changes").matches(" class=\"change\"").count(), 0);
    let by_order = page(&world, &["a.parquet", "b", "--by", "order"]);
    assert_has(section(&by_order, "changes"), &["Rows are compared by order.", "Unchanged 194"]);
    let equal = page(&world, &["a.parquet", "a.parquet"]);
    assert_has(
        section(&equal, "changes"),
        &["The rows are equal in the columns that were compared."],
    );
}
