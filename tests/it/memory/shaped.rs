//! Nested columns, rows that are compared, and conversions.

use overmind_export::{JsonColumns, NestingOptions};

use super::*;

/// What becomes of the rows.
pub(super) struct Shape {
    pub(super) json_columns: Option<JsonColumns>,
    pub(super) nesting: NestingOptions,
    pub(super) transform: Transform,
}

impl Shape {
    pub(super) fn of(name: &str) -> Self {
        let mut shape = Self {
            json_columns: None,
            nesting: NestingOptions::default(),
            transform: Transform::new(),
        };
        match name {
            "nested" => shape.json_columns = Some(JsonColumns::Nested),
            "padded" => {
                shape.json_columns = Some(JsonColumns::Nested);
                shape.nesting.nest = vec![".input[]".to_owned()];
            }
            "dedupe" => shape.transform = shape.transform.dedupe(".id"),
            _ => {}
        }
        shape
    }
}

/// Converts a file, to Parquet next to it.
pub(super) fn convert(path: &Path, name: &str) {
    let mut options = ConvertOptions::new(path, path.with_extension(format!("{name}.parquet")));
    let shape = Shape::of(name);
    options.json_columns = shape.json_columns;
    options.nesting = shape.nesting;
    options.transform = shape.transform;
    options.encode_threads = Some(2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let convert = Convert::new(ConvertPlan::new(options).unwrap());
    runtime.unwrap().block_on(convert.run()).unwrap();
}

/// Rows of about 600 bytes.
fn usual(count: u64) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(5);
    let text: String = (0..400).map(|_| random.alphanumeric()).collect();
    let row = |number: u64| {
        let id = crate::rows::id(number);
        format!(
            r#"{{"id":"{id}","order":{number},"input":{{"messages":[{{"role":"user","content":"{text}"}},{{"role":"a","n":{number}}}]}},"tags":{{"score":{number}.5}}}}"#
        )
    };
    (0..count).map(row).collect()
}

/// Rows with this value of `input`.
fn rows_of(inputs: impl Iterator<Item = String>) -> Vec<String> {
    let row =
        |(number, input)| format!(r#"{{"id":"{}","input":{input}}}"#, crate::rows::id(number));
    (0..).zip(inputs).map(row).collect()
}

#[test]
fn shaped_memory_does_not_grow_with_the_row_count() {
    for (shape, output) in
        [("nested", "rows.parquet"), ("nested", "rows/"), ("dedupe", "rows.jsonl")]
    {
        let peak = |count| peak_of(usual(count), (2, 100), shape, output);
        let (some, more) = (peak(15_000), peak(60_000));
        println!("{shape}, {output}: {some} MiB for 15,000 rows, {more} for 60,000");
        assert!(more <= some + 24 && more <= 150, "{shape}, {output}: {some} MiB, then {more}");
    }
}

#[test]
fn conversion_memory_does_not_grow_with_the_row_count() {
    let peaks = |count| {
        let world = World::with_rows(Options::default(), usual(count));
        world.export(&["-o", "rows.jsonl"]).ok();
        ["text", "nested", "dedupe"].map(|how| reading(&world.path("rows.jsonl"), how))
    };
    for (some, more) in peaks(15_000).into_iter().zip(peaks(60_000)) {
        assert!(more <= some + 24 && more <= 150, "{some} MiB, then {more}");
    }
}

/// A text of 15 KB whose arrays take 20 MiB: each element of the list has a place for 500 members.
fn padded() -> impl Iterator<Item = String> {
    let members: Vec<_> = ('a'..='z')
        .flat_map(|one| ('a'..='t').map(move |other| format!("\"{one}{other}\":1")))
        .take(500)
        .collect();
    // Each member is in a third of the objects, so that the objects are no map.
    let full = format!("[{{{}}}]", members.join(","));
    let empty = format!("[{}{{}}]", "{},".repeat(5_000));
    std::iter::repeat_n(full, 30).chain(std::iter::repeat_n(empty, 60))
}

#[test]
fn padded_rows_do_not_multiply_memory() {
    for output in ["rows.arrow", "rows.parquet"] {
        let peak = peak_of(rows_of(padded()), (2, 100), "padded", output);
        println!("{output}: {peak} MiB for 1,200 MiB of arrays");
        assert!(peak <= 300, "{output}: {peak}");
    }
}

#[test]
fn inference_memory_is_bounded_over_all_columns() {
    // Each row has 2,500 paths of its own, in each of two columns.
    let object = |number: usize| {
        let inner = (0..50).map(|n| format!("\"v{n}\":1")).collect::<Vec<_>>().join(",");
        let members = (0..50).map(|n| format!("\"k{number}x{n}\":{{{inner}}}"));
        members.collect::<Vec<_>>().join(",")
    };
    let spread = |number: usize| {
        // Objects in objects, so that no object has too many members.
        let level = |depth: &str| format!("{{\"{depth}{}\":{{{}}}}}", number % 400, object(number));
        (level("a"), level("b"))
    };
    let rows = (0..400).map(|number| {
        let (input, tags) = spread(number);
        format!(r#"{{"id":"{}","input":{input},"tags":{tags}}}"#, crate::rows::id(number as u64))
    });
    let peak = peak_of(rows.collect(), (4, 20), "nested", "rows.parquet");
    println!("{peak} MiB for 2,000,000 paths");
    // The trees would take 500 MiB.
    assert!(peak <= 200, "{peak}");
}
