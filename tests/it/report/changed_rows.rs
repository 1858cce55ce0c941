//! Which changed rows a page shows, and how people recognise them.

use super::*;

/// Rows of which all have another topic in the second version, and one has another answer.
fn version(rows: u64, answer: u64, is_second: bool) -> String {
    let row = |number: u64| {
        let turn = |role: &str, text: String| json!({"role": role, "content": text});
        json!({
            "id": rows::id(number), "order": number, "persona": format!("persona {}", number % 3),
            "input": {"messages": [
                turn("system", "A long text that all rows have, so that it says nothing about one of them.".to_owned()),
                turn("user", format!("question {number}")), turn("assistant", "Yes?".to_owned()), turn("user", "Go on".to_owned()),
            ]},
            "expected_output": {"answer": if is_second && number == answer { "fifty" } else { "forty" }},
            "tags": {"topic": if is_second { "device" } else { "hardware" }},
        })
    };
    (0..rows).map(|number| format!("{}\n", row(number))).collect()
}

fn write(world: &World, rows: u64, answer: u64) {
    fs::write(world.path("a.jsonl"), version(rows, answer, false)).unwrap();
    fs::write(world.path("b.jsonl"), version(rows, answer, true)).unwrap();
}

#[test]
fn bulk_change_does_not_hide_another_change() {
    let world = world(Vec::new());
    // More rows than the page looks at, and the other change is behind them.
    write(&world, 10_300, 10_200);
    let page = page(&world, &["a.jsonl", "b.jsonl", "--rows", "9"]);
    let changes = section(&page, "changes");
    let id = rows::id(10_200);
    assert_has(
        changes,
        &[
            "The table covers 10,001 of 10,300 changed rows: the first ones, and all rows of columns that differ in at most 1,000 rows.",
            &format!(
                "expected_output.answer 1 row changed {id} order 10200 persona 0 question 10200 expected_output"
            ),
            "tags.topic 8 rows changed",
            "9 of 10,300 rows that differ are shown. Set the option rows to 10000 to show more of them; overmind-export diff lists every row.",
        ],
    );
    // The tables lead to the first row of a place and of a column.
    let first = changes.split("id=\"changes-1\"").nth(1).unwrap();
    assert!(first.find("forty") < first.find("id=\"changes-2\""), "{first}");
    for link in [
        "<a href=\"#changes-1\"><code>expected_output.answer</code></a>",
        "<a href=\"#changes-1\"><code>tags.topic</code></a>",
        "<a href=\"#changes-1\"><code>tags</code></a>",
    ] {
        assert!(changes.contains(link), "{link}: {changes}");
    }
    let few = self::page(&world, &["a.jsonl", "b.jsonl", "--no-rows"]);
    assert!(!few.contains("lists every row") && !few.contains("#changes-"));
}

#[test]
fn rows_are_named_by_order_persona_and_request() {
    let world = world(Vec::new());
    fs::write(world.path("a.jsonl"), version(20, 5, false)).unwrap();
    let second: Vec<String> = version(23, 5, true).lines().skip(2).map(str::to_owned).collect();
    fs::write(world.path("b.jsonl"), second.join("\n")).unwrap();
    let page = page(&world, &["a.jsonl", "b.jsonl"]);
    let changes = section(&page, "changes");
    let id = rows::id(21);
    assert_has(
        changes,
        &[
            &format!("added {id} order 21 persona 0 question 21 order 21 input"),
            &format!("removed {} order 1 persona 1 question 1", rows::id(1)),
            // A changed row leads to the row itself.
            &format!("changed {} row 4 order 5 persona 2 question 5 expected_output", rows::id(5)),
        ],
    );
    let link = format!("<a href=\"#row-{}\">row 4</a>", rows::id(5));
    assert!(
        changes.contains(&link)
            && section(&page, "rows").contains(&format!("id=\"row-{}\"", rows::id(5)))
    );
    let masked = self::page(&world, &["a.jsonl", "b.jsonl", "--mask", ".input, .persona"]);
    assert!(!masked.contains("question 5") && !masked.contains("persona 2"));
    let dropped = self::page(&world, &["a.jsonl", "b.jsonl", "--drop", "order,persona"]);
    assert!(!dropped.contains("order 5") && !dropped.contains("persona 2"));
}

/// The key of a comparison by input is an input.
#[test]
fn keys_of_rows_are_masked() {
    let world = world(Vec::new());
    write(&world, 20, 5);
    let by_input = ["a.jsonl", "b.jsonl", "--by", "input"];
    assert!(section(&page(&world, &by_input), "changes").contains("question 5"));
    for hidden in
        [["--mask", ".input.messages[].content"], ["--mask", ".input"], ["--drop", "input"]]
    {
        let page = page(&world, &[&by_input[..], &hidden].concat());
        assert!(!page.contains("question 5") && !page.contains("Go on"), "{hidden:?}");
    }
    let by_order = page(&world, &["a.jsonl", "b.jsonl", "--by", "order", "--drop", "order"]);
    assert!(!by_order.contains("<code class=\"id\">5</code>"), "{by_order}");
}

#[test]
fn long_rows_are_folded() {
    let world = world(Vec::new());
    let lines: Vec<String> = (0..200).map(|line| format!("line {line}")).collect();
    let turn = |text: &str| json!({"role": "user", "content": text});
    let turns: Vec<Value> = (0..120).map(|number| turn(&format!("turn {number}"))).collect();
    let rows = [
        json!({"id": rows::id(1), "input": lines.join("\n"), "persona": " "}),
        json!({"id": rows::id(2), "input": {"messages": turns}, "persona": null}),
    ];
    fs::write(world.path("a.jsonl"), rows.map(|row| row.to_string()).join("\n")).unwrap();
    let page = page(&world, &["a.jsonl"]);
    assert_has(
        section(&page, "rows"),
        &["line 39 160 more lines line 40", "turn 79 40 more turns user turn 80", "(empty)"],
    );
}
