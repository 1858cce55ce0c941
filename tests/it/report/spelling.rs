//! The page of two exports tells rows with other values from rows whose JSON is only spelled otherwise.

use super::*;

fn row(number: u64, input: &str) -> String {
    format!(r#"{{"id":"{}","order":{number},"input":{input}}}"#, rows::id(number))
}

fn write(world: &World, name: &str, inputs: &[&str]) {
    let rows = inputs.iter().zip(0..).map(|(input, number)| row(number, input) + "\n");
    fs::write(world.path(name), rows.collect::<String>()).unwrap();
}

#[test]
fn respelled_rows_are_counted_or_left_out() {
    let world = world(Vec::new());
    write(&world, "a.jsonl", &[r#"{"a":1,"b":[0.10]}"#, r#""é""#, r#"{"k":1,"k":null}"#, "1e400"]);
    write(
        &world,
        "b.jsonl",
        &[r#"{"b":[0.1],"a":1.0,"c":null}"#, r#""\u00e9""#, r#"{"k":1}"#, "1e401"],
    );
    let both = page(&world, &["a.jsonl", "b.jsonl"]);
    let changes = section(&both, "changes");
    assert_has(
        changes,
        &[
            "Changed 4 (100 % of 4 rows before)",
            "2 of 4 changed rows have the same values in another spelling: only the order of keys,",
            "Column Changed rows Only spelling Share of 4 changed rows input 4 2 100 %",
            "It differs in a key that an object has more than once.",
            "1e400 1e401",
        ],
    );
    assert_eq!(changes.matches("Same values; only the order of keys").count(), 2);
    let values = page(&world, &["a.jsonl", "b.jsonl", "--ignore-spelling"]);
    let changes = section(&values, "changes");
    assert_has(
        changes,
        &[
            "Rows are compared by id. The spelling of JSON is ignored.",
            "Changed 2 (50.0 % of 4 rows before)",
            "Unchanged 2 (50.0 % of 4 rows before)",
        ],
    );
    assert!(!changes.contains("another spelling"), "{changes}");
    assert_eq!(changes.matches("<article").count(), 2);
}
