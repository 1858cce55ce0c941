//! One mistake at a time in rows that have none: the page names it, with its share and an example.

use super::*;

const ROWS: usize = 500;

/// Rows in which nothing is odd.
fn clean() -> Vec<Value> {
    let row = |number: usize| {
        let turn = |role: &str, content: String| json!({"role": role, "content": content});
        let question = turn("user", format!("Hello, my order {number} is late. What can I do?"));
        json!({
            "id": rows::id(number as u64), "order": number, "persona": (["vip", "new_user"][number % 2]),
            "input": {
                "messages": [turn("system", "Be polite.".to_owned()), question],
                "difficulty": number % 5, "locale": (["en", "de"][number % 2]),
            },
            "expected_output": {"answer": format!("Case {number} is open."), "tool": (["none", "refund"][number % 2])},
            "tags": {"topic": (["billing", "delivery"][number % 2])},
        })
    };
    (0..ROWS).map(row).collect()
}

fn report_of(rows: &[Value], arguments: &[&str]) -> String {
    let world = world(Vec::new());
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(world.path("rows.jsonl"), lines).unwrap();
    page(&world, &[&["rows.jsonl"], arguments].concat())
}

/// Changes the rows, and checks that the page says this and nothing else. It links to the row with this index.
#[track_caller]
fn assert_remark(change: impl Fn(&mut [Value]), index: usize, remark: &str) {
    let mut rows = clean();
    change(&mut rows);
    let page = report_of(&rows, &[]);
    let odd = section(&page, "odd");
    assert_eq!(text(odd).trim_end().strip_suffix(remark), Some("Worth a look "), "{}", text(odd));
    let id = rows::id(index as u64);
    assert!(odd.contains(&format!("href=\"#row-{id}\"")), "{id}: {odd}");
    assert!(section(&page, "rows").contains(&format!("id=\"row-{id}\"")), "{id}");
}

fn answer(row: &mut Value) -> &mut Value {
    &mut row["expected_output"]["answer"]
}

#[test]
fn clean_rows_have_no_remark() {
    let page = report_of(&clean(), &[]);
    assert!(text(section(&page, "odd")).contains("Nothing odd was found."), "{page}");
}

#[test]
fn odd_texts_have_a_remark() {
    for (value, says) in [
        ("", "is empty."),
        ("-", "has no letter and no digit."),
        ("N/A", "is a placeholder, such as N/A or TODO."),
        ("Iâ€™m", "has characters of a wrong encoding, such as Ã© or U+FFFD."),
        (
            "Hi {{customer_name}}",
            "has a variable that nothing was filled in for, such as {{name}}.",
        ),
    ] {
        let remark =
            format!(".expected_output.answer: 1 of 500 texts (0.2 %) {says} It is in row 301.");
        assert_remark(|rows| *answer(&mut rows[300]) = value.into(), 300, &remark);
        if value.is_empty() {
            continue;
        }
        // Not in conversations, where people write so.
        let in_turn =
            |rows: &mut [Value]| rows[300]["input"]["messages"][1]["content"] = value.into();
        let mut rows = clean();
        in_turn(&mut rows);
        let is_said = !text(section(&report_of(&rows, &[]), "odd")).contains("Nothing odd");
        assert_eq!(is_said, !says.contains("digit") && !says.contains("placeholder"), "{value}");
    }
}

#[test]
fn values_that_are_often_empty_have_no_remark() {
    let mut rows = clean();
    rows.iter_mut().step_by(5).for_each(|row| *answer(row) = "".into());
    assert!(text(section(&report_of(&rows, &[]), "odd")).contains("Nothing odd was found."));
}

#[test]
fn rare_and_missing_keys_have_a_remark() {
    let output = |rows: &mut [Value]| rows[300]["expected_output"].as_object().unwrap().clone();
    assert_remark(
        |rows| rows[300]["expected_output"] = json!({"answer": "Case 300 is open."}),
        300,
        ".expected_output.tool is missing in 1 of 500 objects (0.2 %). It is in row 301.",
    );
    assert_remark(
        |rows| {
            let mut output = output(rows);
            output.insert("note".to_owned(), json!(7));
            rows[300]["expected_output"] = output.into();
        },
        300,
        ".expected_output.note is in 1 of 500 objects (0.2 %) only. It is in row 301.",
    );
    assert_remark(
        |rows| {
            let mut output = output(rows);
            let answer = output.remove("answer").unwrap();
            output.insert("Answer".to_owned(), answer);
            rows[300]["expected_output"] = output.into();
        },
        300,
        ".expected_output.Answer is in 1 of 500 objects (0.2 %) only. Most others have answer, which is spelled almost like \
         it. It is in row 301.",
    );
}

#[test]
fn nulls_and_numbers_as_text_have_a_remark() {
    assert_remark(
        |rows| rows[300]["expected_output"]["tool"] = Value::Null,
        300,
        ".expected_output.tool: 1 of 500 values (0.2 %) is null, and most others are of the type string. It is in row 301.",
    );
    assert_remark(
        |rows| {
            for row in rows.iter_mut().skip(300).take(40) {
                let difficulty = row["input"]["difficulty"].to_string();
                row["input"]["difficulty"] = difficulty.into();
            }
        },
        300,
        ".input.difficulty: 40 of 500 values (8.0 %) are texts that are numbers, and most others numbers. The first is in \
         row 301.",
    );
    // The list of values tells both apart.
    let mut rows = clean();
    rows[300]["input"]["difficulty"] = "3".into();
    let page = report_of(&rows, &[]);
    assert_has(section(&page, "data"), &["4 20.0 % 0 19.8 % \"3\" 0.2 % of 500 values"]);
}

#[test]
fn blocks_of_nulls_have_a_remark() {
    assert_remark(
        |rows| rows[300..350].iter_mut().for_each(|row| row["tags"] = Value::Null),
        300,
        "tags is null from row 301 to row 350: 50 rows (10.0 % of all rows), and in no other row.",
    );
}

#[test]
fn odd_turns_have_a_remark() {
    assert_remark(
        |rows| rows[300]["input"]["messages"][0]["content"] = " ".into(),
        300,
        "1 of 500 turns (0.2 %) of the role system has no text. It is in row 301.",
    );
    assert_remark(
        |rows| rows[300]["input"]["messages"] = json!([]),
        300,
        "1 of 500 inputs (0.2 %) has no turn of a conversation, and all others have. It is in row 301.",
    );
    assert_remark(
        |rows| rows[300]["input"]["messages"][1]["role"] = "system".into(),
        300,
        "1 of 500 conversations (0.2 %) ends with the role system, and most others with user. It is in row 301.",
    );
}

#[test]
fn spellings_of_one_value_have_a_remark() {
    assert_remark(
        |rows| rows[301]["persona"] = "New User ".into(),
        301,
        "persona: new_user (249 rows) and New User␣ (1 row) differ only in case, spaces, _ or -. A rarer one is first in \
         row 302.",
    );
    assert_remark(
        |rows| rows[301]["tags"]["topic"] = "Delivery".into(),
        301,
        "tags: topic=delivery (249 rows) and topic=Delivery (1 row) differ only in case, spaces, _ or -. A rarer one is \
         first in row 302.",
    );
    assert_remark(
        |rows| rows[300]["input"]["locale"] = "EN".into(),
        300,
        ".input.locale: en (249 values) and EN (1 value) differ only in case, spaces, _ or -. A rarer one is first in row \
         301.",
    );
}

#[test]
fn repeated_inputs_say_whether_outputs_differ() {
    assert_remark(
        |rows| rows[300]["input"] = rows[10]["input"].clone(),
        300,
        "1 row (0.2 % of all rows) repeats the input of an earlier row: 1 input occurs more than once, and 1 of them has \
         different expected outputs. Such as row 301 after row 11.",
    );
    let mut rows = clean();
    for (later, earlier) in [(300, 10), (310, 10), (400, 20)] {
        rows[later]["input"] = rows[earlier]["input"].clone();
        rows[later]["expected_output"] = rows[earlier]["expected_output"].clone();
    }
    rows[320]["input"] = rows[20]["input"].clone();
    let page = report_of(&rows, &[]);
    assert_has(
        section(&page, "odd"),
        &[
            "4 rows (0.8 % of all rows) repeat the input of an earlier row: 2 inputs occur more than once, and 1 of them has \
           different expected outputs.",
        ],
    );
    let row = |number: usize| {
        let start = format!("aria-label=\"Row {number}\"");
        text(
            section(&page, "rows").split(&start).nth(1).unwrap().split("</header>").next().unwrap(),
        )
    };
    assert!(row(321).contains("same input as row 21, other expected output"), "{}", row(321));
    assert!(row(301).contains("same input as row 11") && !row(301).contains("other expected"));
}

#[test]
fn one_answer_in_many_rows_has_a_remark() {
    let refuse = |rows: &mut [Value], count: usize| {
        let refused = rows.iter_mut().skip(100).step_by(5).take(count);
        refused.for_each(|row| *answer(row) = "I'm sorry, but I can't help.".into());
    };
    let mut rows = clean();
    refuse(&mut rows, 30);
    let page = report_of(&rows, &[]);
    let odd = text(section(&page, "odd"));
    let start = ".expected_output.answer: at least ";
    let said = odd.split(start).nth(1).unwrap_or_else(|| panic!("{odd}"));
    let (count, rest) = said.split_once(" of 500 texts").unwrap();
    assert!((28..=30).contains(&count.parse().unwrap()), "{odd}");
    assert!(
        rest.contains("are equal: “I'm sorry, but I can't help.”. One of them is in row"),
        "{odd}"
    );
    let mut few = clean();
    refuse(&mut few, 8);
    assert!(text(section(&report_of(&few, &[]), "odd")).contains("Nothing odd was found."));
    let private = report_of(&rows, &["--no-rows"]);
    assert!(private.contains("are equal") && !private.contains("sorry"));
}

#[test]
fn long_values_and_echoes_have_a_remark() {
    let length = |rows: &[Value]| rows[300]["expected_output"].to_string().len();
    let mut rows = clean();
    *answer(&mut rows[300]) = "word ".repeat(2000).into();
    let page = report_of(&rows, &[]);
    let said = format!(
        "expected_output: the longest value has 10,{:03} characters, and the median has",
        length(&rows) - 10_000
    );
    assert_has(section(&page, "odd"), &[&said, "It is in row 301."]);
    assert_remark(
        |rows| *answer(&mut rows[300]) = rows[300]["input"]["messages"][1]["content"].clone(),
        300,
        "1 row (0.2 % of all rows) with an expected output that repeats the last long text of the input. It is in row 301.",
    );
}

#[test]
fn order_has_a_remark_unless_rows_were_left_out() {
    assert_remark(
        |rows| {
            rows[300..]
                .iter_mut()
                .for_each(|row| row["order"] = (row["order"].as_u64().unwrap() + 50).into())
        },
        300,
        "order does not rise by one from row to row: 1 row (0.2 % of all rows) after a gap, in row 301, from 299 to 350.",
    );
    let world = world(clean().iter().map(ToString::to_string).collect());
    export(&world, &["-o", "some.parquet", "--sample", "0.5"]);
    let some = page(&world, &["some.parquet"]);
    assert!(text(section(&some, "odd")).contains("Nothing odd was found."), "{some}");
    assert!(!text(section(&some, "odd")).contains("gaps in the order"));
    export(&world, &["-o", "split/", "--split", "train=0.9,test=0.1"]);
    let split = page(&world, &["split"]);
    let facts = text(section(&split, "export"));
    let rows = facts.split("Split Rows Share of 500 rows train ").nth(1).unwrap();
    let train: u64 = rows.split(' ').next().unwrap().parse().unwrap();
    assert!(facts.contains(&format!("test {}", 500 - train)), "{facts}");
    assert!(!text(section(&split, "odd")).contains("order does not rise"));
}

/// Values are nowhere, whatever is odd.
#[test]
fn remarks_without_rows_have_no_value() {
    let mut rows = clean();
    rows[300]["persona"] = "New User ".into();
    rows[301]["input"]["locale"] = "EN".into();
    rows[302]["input"]["messages"][0]["content"] = "".into();
    rows[303]["input"]["messages"][1]["role"] = "assistant".into();
    rows[304]["input"]["messages"][1]["role"] = "secret_role".into();
    rows[305]["order"] = 77_777.into();
    rows[306]["tags"]["topic"] = "Billing".into();
    let said = report_of(&rows, &[]);
    let values = ["New User", "EN", "system", "assistant", "secret_role", "77777", "topic=Billing"];
    for value in values {
        assert!(text(section(&said, "odd")).contains(value), "{value}");
    }
    let page = report_of(&rows, &["--no-rows"]);
    let odd = section(&page, "odd");
    for value in values {
        assert!(!text(odd).contains(value), "{value}: {odd}");
    }
    assert_has(odd, &["1 of 500 turns (0.2 %) of a role has no text. It is in row 303."]);
}
