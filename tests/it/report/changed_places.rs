//! The page of changes names the places that changed in most rows, and the most frequent change of each.

use super::*;

/// Rows of which every second one has another topic in the second version. Two answers become numbers.
fn version(is_second: bool) -> String {
    let row = |number: u64| {
        let (is_changed, other) =
            (is_second && number.is_multiple_of(2), format!("request {number}"));
        json!({
            "id": rows::id(number), "order": number,
            "input": {"messages": [{"role": "user", "content": if is_changed { other.clone() } else { format!("question {number}") }}]},
            "expected_output": if is_second && number < 2 { json!({"answer": 42}) } else { json!({"answer": "42"}) },
            "tags": {"topic": if is_changed { "gadget" } else { "hardware" }},
            "persona": if is_changed && number < 10 { Value::Null } else { json!("<a>") },
        })
    };
    (0..100).map(|number| format!("{}\n", row(number))).collect()
}

#[test]
fn equal_changes_are_one_line_of_a_table() {
    let world = world(Vec::new());
    fs::write(world.path("a.jsonl"), version(false)).unwrap();
    fs::write(world.path("b.jsonl"), version(true)).unwrap();
    let of = |arguments: &[&str]| page(&world, &[&["a.jsonl", "b.jsonl"], arguments].concat());
    let shown = of(&[]);
    assert_has(
        section(&shown, "changes"),
        &["Where values changed Place Rows Share of 51 changed rows Most frequent change \
             input.messages[].content 50 98.0 % a different change in each row \
             tags.topic 50 98.0 % hardware gadget in all of them \
             persona 5 9.8 % \"<a>\" null in all of them \
             expected_output.answer 2 3.9 % \"42\" 42 in all of them"],
    );
    // Keys stay, values do not.
    let private = of(&["--no-rows"]);
    assert_has(
        section(&private, "changes"),
        &["tags.topic 50 98.0 % the same in all of them persona 5 9.8 % the same in all of them"],
    );
    assert!(!private.contains("hardware") && !private.contains("gadget"), "{private}");
    let masked = of(&["--mask", ".tags.topic"]);
    assert!(
        !masked.contains("hardware") && !text(section(&masked, "changes")).contains("tags.topic")
    );
}
