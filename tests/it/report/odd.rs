//! The page names odd rows and values. If there are none, it says so. A column with few values shows their shares.

use super::*;

/// Ten thousand answers of one letter, one of which is an object.
fn answers(count: u64) -> Vec<Value> {
    let row = |number: u64| {
        let answer = ["A", "B", "C", "D"][(number % 4) as usize];
        json!({
            "id": rows::id(number), "order": number, "expected_output": answer, "persona": "a",
            "input": {"messages": [{"role": "user", "content": format!("question {number}")}], "hard": number.is_multiple_of(5)},
        })
    };
    (0..count).map(row).collect()
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn report_of(rows: &[Value], arguments: &[&str]) -> String {
    let world = world(Vec::new());
    fs::write(world.path("rows.jsonl"), lines(rows)).unwrap();
    page(&world, &[&["rows.jsonl"], arguments].concat())
}

#[test]
fn few_values_have_shares_of_a_named_whole() {
    let mut rows = answers(1000);
    rows[3]["expected_output"] = Value::Null;
    rows[4]["expected_output"] = json!("...");
    let page = report_of(&rows, &[]);
    let data = section(&page, "data");
    assert_has(
        data,
        &[
            "Value Rows Share of 999 values B 250 25.0 % C 250 25.0 %",
            "A 249 24.9 % D 249 24.9 %",
            "hard boolean 100 % 1,000 rows false 80.0 % true 20.0 % of 1,000 values",
        ],
    );
    assert_has(
        section(&page, "odd"),
        &[
            // An answer of one letter is no empty one.
            "1 row (0.1 % of all rows) with an expected output without a letter or a digit. It is in row 5.",
            "1 row (0.1 % of all rows) without an expected output. It is in row 4.",
        ],
    );
    assert!(!text(data).contains("nearly empty"));
    let private = report_of(&rows, &["--no-rows"]);
    assert!(!private.contains("Share of 999 values") && !text(&private).contains("false 80.0 %"));
}

#[test]
fn repeated_ids_rare_types_and_roles_are_named() {
    let mut rows = answers(10_000);
    rows[7341]["expected_output"] = json!({"answer": "B"});
    rows[500]["id"] = rows[499]["id"].clone();
    rows[600]["input"]["messages"][0]["role"] = json!("usr");
    rows[601]["input"]["messages"][0]["content"] = json!(["question"]);
    let page = report_of(&rows, &[]);
    let data = section(&page, "odd");
    let id = rows::id(499).to_string();
    assert_has(
        data,
        &[
            &format!(
                "1 row (< 0.1 % of all rows) repeats the id of an earlier row: 1 id occurs more than once, such as {id}."
            ),
            ".expected_output: 1 of 10,000 values (< 0.1 %) is of the type object, and most others of the type string. It is in row 7,342.",
            ".input.messages[].content: 1 of 10,000 values (< 0.1 %) is of the type array, and most others of the type string. It is in row 602.",
            "1 of 10,000 turns (< 0.1 %) has the role usr.",
        ],
    );
    // The page shows the rows that it names.
    let odd = rows::id(7341);
    assert!(data.contains(&format!("<a href=\"#row-{odd}\">row 7,342</a>")), "{data}");
    assert!(section(&page, "rows").contains(&format!("id=\"row-{odd}\"")));
    assert!(!text(data).contains("Nothing odd was found"));
}

#[test]
fn page_says_that_nothing_is_odd() {
    let rows = answers(1000);
    assert_has(
        section(&report_of(&rows, &[]), "odd"),
        &[
            "Nothing odd was found. This was looked for: repeated ids, repeated inputs, missing, empty or wordless expected \
             outputs, expected outputs that repeat the input, columns or blocks of rows without values, rare types of \
             values, and numbers as text, rare and missing keys, empty texts and placeholders, one text as many answers, \
             wrong encodings and unfilled templates, values in several spellings, turns without text, and conversations \
             with a rare end, rare roles, personas, labels or roles in several spellings, values much longer than the \
             others, gaps in the order.",
        ],
    );
}

#[test]
fn extreme_rows_are_shown_and_small_counts_are_exact() {
    let mut rows = answers(1000);
    rows[700]["input"] = json!("short");
    rows[800]["input"] = json!("long ".repeat(200));
    rows[900]["persona"] = json!("p".repeat(20_000));
    let page = report_of(&rows, &["--rows", "50"]);
    let data = section(&page, "data");
    for (number, index) in [("701", 700), ("801", 800)] {
        let link = format!("<a href=\"#row-{}\">row {number}</a>", rows::id(index));
        assert!(data.contains(&link), "{link}: {data}");
    }
    // All counts are exact, although one persona is too long for the list.
    assert_has(data, &["a 999 99.9 %"]);
    assert!(text(data).contains("1 value of more than 256 bytes is not in this list."), "{data}");
    assert!(!data.contains('≈'), "{data}");
    // Its chip is short, and the value itself is there.
    let chip = format!("{}… (20,000 characters)", "p".repeat(80));
    assert!(section(&page, "rows").contains(&chip));
}

#[test]
fn numbers_have_a_distribution() {
    let world = world(conversations(1000));
    export(
        &world,
        &[
            "-o",
            "rows.parquet",
            "--column",
            "score:int=.order % 5",
            "--column",
            "half:float=.order / 2",
        ],
    );
    let page = page(&world, &["rows.parquet"]);
    let data = section(&page, "data");
    assert_has(
        data,
        &[
            "Value Rows Share of 1,000 values 0 200 20.0 %",
            "Values, in equal steps; median 249.5; the highest bar is 50 rows 0 499.5",
        ],
    );
}

#[test]
fn different_datasets_are_noticed() {
    let world = world(conversations(30));
    export(&world, &["-o", "a.parquet"]);
    let other = uuid::Uuid::from_u128(7);
    let renamed = |row: String| row.replace("\"id\":\"0", "\"id\":\"f");
    let rows = conversations(30).into_iter().map(renamed).collect();
    let dataset = overmind_export::demo::Dataset::from_rows("other", rows).with_id(other);
    world.server.replace(vec![dataset]);
    let ran = Ran::of(world.command().args([
        "export",
        &other.to_string(),
        "-q",
        "-o",
        "b.parquet",
        "--mask",
        ".persona",
    ]));
    ran.ok();
    let both = page(&world, &["a.parquet", "b.parquet"]);
    assert_has(
        &both,
        &[
            &format!(
                "Two datasets: the earlier export is of dataset {ID}, and this one of {other}."
            ),
            "Nothing in common: the two exports share no id, so every row counts as removed and added.",
            ".persona is masked in this export only, so its values differ.",
            "persona string masked",
        ],
    );
    assert!(!text(&both).contains("persona is null in every row"));
    let by_order = page(&world, &["a.parquet", "b.parquet", "--by", "order"]);
    assert!(!text(&by_order).contains("Nothing in common"));
}
