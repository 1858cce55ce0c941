//! What must not be on a page, or must not act there: text from outside, masked values, scripts.

use super::*;

fn hostile() -> Vec<String> {
    let row = |(number, text): (usize, &&str)| {
        let turn = json!({"role": text, "content": format!("```{text}\n{text}\n```\n\n{text}"), "name": text});
        let mut row = json!({
            "id": rows::id(number as u64), "order": number, "expected_output": text, "persona": text,
            "input": {"messages": [turn], *text: {*text: text}}, "tags": [text, {*text: text}],
        });
        row[*text] = json!(text);
        row.to_string()
    };
    HOSTILE.iter().enumerate().map(row).collect()
}

/// Every element of the page is one that the templates have, with their attributes.
#[test]
fn text_from_outside_is_only_text() {
    let world = world(hostile());
    export(&world, &["-o", "rows.parquet", "--column", "again=.persona"]);
    let page = page(&world, &["rows.parquet"]);
    for (part, count) in [
        ("<script", 1),
        ("</script", 1),
        ("<style", 1),
        ("</style", 1),
        ("<img", 0),
        ("<a href=\"data", 0),
    ] {
        assert_eq!(page.matches(part).count(), count, "{part}");
    }
    for acting in ['\u{202E}', '\u{2066}', '\u{1b}', '\u{0}'] {
        assert!(!page.contains(acting), "{acting:?}");
    }
    assert_has(
        section(&page, "rows"),
        &[
            "<script>window.ran=1</script>",
            "U+202EreversedU+2066",
            "</style><style>*{display:none}</style>",
        ],
    );
    // Links lead to places of the page.
    let links = page.split("href=\"").skip(1).map(|it| it.split('"').next().unwrap());
    let mut places = 0;
    for link in links {
        assert!(link.starts_with('#'), "{link}");
        assert!(page.contains(&format!("id=\"{}\"", &link[1..])), "{link}");
        places += 1;
    }
    assert!(places > 10);
    assert!(!page.contains("http://") && !page.contains("https://"));
    // No attribute is an event handler or a style, which the policy would refuse.
    let tags = page.split('<').skip(1).filter_map(|it| it.split_once('>'));
    let names = tags.flat_map(|(tag, _)| tag.split('"').step_by(2).flat_map(str::split_whitespace));
    let mut acting = names.filter(|name| name.starts_with("on") || name.starts_with("style="));
    assert_eq!(acting.next(), None);
}

#[test]
fn policy_allows_the_own_style_and_script_only() {
    let world = world(conversations(3));
    export(&world, &["-o", "rows.parquet"]);
    let page = page(&world, &["rows.parquet"]);
    let inner = |tag: &str| {
        let start = page.split(&format!("<{tag}>")).nth(1).unwrap();
        start.split(&format!("</{tag}>")).next().unwrap()
    };
    let hash = |tag: &str| STANDARD.encode(Sha256::digest(inner(tag).as_bytes()));
    let policy = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; \
         script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">",
        hash("style"),
        hash("script")
    );
    assert!(page.contains(&policy), "{policy}");
    assert!(page.find(&policy) < page.find("<style>"));
}

#[test]
fn masked_values_are_nowhere_on_the_page() {
    let world = world(conversations(400));
    export(&world, &["-o", "rows.parquet"]);
    let mask = ["--mask", ".persona, .input.messages[].content", "--mask", ".tags.topic"];
    let masked = page(&world, &[&["rows.parquet"], &mask[..]].concat());
    for secret in ["persona 1", "question", "Answer briefly", "topic=t1", "größe"] {
        assert!(!masked.contains(secret), "{secret}");
    }
    assert_has(
        &masked,
        &[
            "Masked values are shown as null or left out: .input.messages[].content .persona .tags.topic",
            "persona masked",
            "Values in input are masked, which can be the reason.",
            "Masked in this report: .persona .input.messages[].content .tags.topic",
            "answer 4",
            "user",
        ],
    );
    // A column that was computed from a masked value has to be left out.
    export(&world, &["-o", "again.parquet", "--column", "again=.persona"]);
    let ran = run(&world, &["again.parquet", "--mask", ".persona", "-o", "x.html"]);
    insta::assert_snapshot!(ran.told(&world), @r#"
    exit 2
    error: the column again was computed by ".persona", so it can have values that --mask .persona replaces: leave it out with --drop
    "#);
    let without = page(&world, &["again.parquet", "--mask", ".persona", "--drop", "again"]);
    assert!(!without.contains("persona 1"));
    fs::remove_file(world.path("again.parquet")).unwrap();
    let dropped = page(&world, &["rows.parquet", "--drop", "input,persona"]);
    assert!(!dropped.contains("question") && !dropped.contains("persona 1"));
    let ran = run(&world, &["rows.parquet", "--mask", ".input.missing", "-o", "x.html"]);
    insta::assert_snapshot!(ran.told(&world), @r#"
    exit 65
    error: --mask ".input.missing" matches no value in 400 rows
      hint: nothing was published: check the spelling of the path, or leave it out if no row has such a value
    "#);
    let ran = run(&world, &["rows.parquet", "--drop", "nothing", "-o", "x.html"]);
    insta::assert_snapshot!(ran.told(&world), @r"
    exit 2
    error: the export has no column nothing
    ");
    assert_eq!(world.entries(), ["rows.parquet"]);
}

#[test]
fn page_without_rows_has_no_value_of_a_row() {
    let world = world(conversations(400));
    export(
        &world,
        &["-o", "rows.parquet", "--column", "again=.persona", "--column", "number:int=.order"],
    );
    let page = page(&world, &["rows.parquet", "--no-rows"]);
    assert!(!page.contains("id=\"rows\"") && !page.contains("<article class=\"row\""));
    let page = ["odd", "export", "data"].map(|id| section(&page, id)).concat();
    for value in [
        "persona 1",
        "question",
        "topic=t1",
        "system",
        "answer 4",
        &rows::id(0).to_string()[..8],
        "From 0 to",
    ] {
        assert!(!page.contains(value), "{value}");
    }
    assert_has(
        &page,
        &[
            "Rows 400",
            "messages array",
            "Turns of conversations, in 400 rows",
            "Values of rows were left out of this page.",
        ],
    );
}

/// The key of a changed, added or removed row is a value, too.
#[test]
fn key_of_a_changed_row_obeys_mask_and_drop() {
    let version = |numbers: std::ops::Range<u64>, answer: &str| -> String {
        let row = |number: u64| {
            let turn = json!({"role": "user", "content": format!("SECRET{number}")});
            json!({
                "id": rows::id(number), "order": 717_000 + number, "expected_output": answer,
                "input": {"messages": [turn], "open": format!("seen {number}")},
            })
        };
        numbers.map(|number| format!("{}\n", row(number))).collect()
    };
    let world = world(Vec::new());
    fs::write(world.path("a.jsonl"), version(0..20, "yes")).unwrap();
    fs::write(world.path("b.jsonl"), version(5..25, "no")).unwrap();
    let of = |arguments: &[&str]| {
        let page = page(&world, &[&["a.jsonl", "b.jsonl"], arguments].concat());
        let changes = section(&page, "changes").to_owned();
        assert_has(&changes, &["Added 5", "Removed 5", "Changed 15"]);
        (page, changes)
    };
    let (clear, _) = of(&["--by", "input"]);
    assert!(clear.contains("SECRET7"));
    for hidden in [["--mask", ".input"], ["--drop", "input"]] {
        let (page, _) = of(&[&["--by", "input"], &hidden[..]].concat());
        assert!(!page.contains("SECRET") && !page.contains("seen 7"), "{hidden:?}");
    }
    let (page, changes) = of(&["--by", "input", "--mask", ".input.messages[].content"]);
    assert!(!page.contains("SECRET"));
    assert_has(&changes, &["\"open\":\"seen 7\""]);
    let (page, _) = of(&["--by", "order", "--drop", "order"]);
    assert!(!page.contains("717007") && !page.contains("717,007"));
    // An input is no id.
    let (_, changes) = of(&["--by", "input", "--drop", "id"]);
    assert_has(&changes, &["SECRET7"]);
}
