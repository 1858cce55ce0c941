mod limits;
mod rescued;

use std::{fs, path::Path};

use arrow_array::Array;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::value::RawValue;

use super::{
    cursor::{JsonCursor, JsonKind, RawString},
    infer::{InferredColumn, MOST_NODES},
    number::digits_of,
    resolve::resolve,
    *,
};

/// Returns the text of a value in which equal values are equal texts.
fn canonical(cursor: &mut JsonCursor<'_>) -> String {
    let string = |raw: RawString<'_>| match raw.value() {
        Some(value) => serde_json::to_string(&value).unwrap(),
        None => raw.text.to_owned(),
    };
    match cursor.kind().unwrap() {
        JsonKind::Null | JsonKind::Bool => cursor.scalar().unwrap().to_owned(),
        JsonKind::Number => {
            let token = cursor.scalar().unwrap();
            let sign = if token.starts_with('-') { "-" } else { "" };
            match digits_of(token) {
                Some((digits, exponent)) => format!("{sign}{digits:?}e{exponent}"),
                None => token.to_owned(),
            }
        }
        JsonKind::String => string(cursor.string().unwrap()),
        JsonKind::Array => {
            let mut items = Vec::new();
            cursor.enter();
            while cursor.has_more().unwrap() {
                items.push(canonical(cursor));
            }
            format!("[{}]", items.join(","))
        }
        JsonKind::Object => {
            let mut members = Vec::new();
            cursor.enter();
            while cursor.has_more().unwrap() {
                let name = string(cursor.key().unwrap());
                members.push((name, canonical(cursor)));
            }
            members.retain(|(_, value)| value != "null");
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let members: Vec<_> = members.into_iter().map(|(k, v)| format!("{k}:{v}")).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn equal_form(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), |text| canonical(&mut JsonCursor::new(text)))
}

fn inferred(rows: &[Option<&str>], before: u64) -> InferredColumn {
    let mut column = InferredColumn::default();
    for (row, text) in (before + 1..).zip(rows) {
        text.map_or(Ok(()), |text| column.add(text, row, MOST_NODES)).unwrap();
    }
    column
}

fn resolved(column: InferredColumn, rules: &NestRules) -> NestedType {
    resolve(&[("c".to_owned(), column)], 0, rules).remove(0).kind
}

fn type_of(rows: &[&str], rules: &NestRules) -> NestedType {
    let rows: Vec<_> = rows.iter().copied().map(Some).collect();
    resolved(inferred(&rows, 0), rules)
}

/// A short form of a type.
fn shown(kind: &NestedType) -> String {
    match kind {
        NestedType::Json { why, row: Some(row) } => format!("json({why}, row {row})"),
        NestedType::Json { why, row: None } => format!("json({why})"),
        NestedType::List { item } => format!("[{}]", shown(item)),
        NestedType::Struct { fields } => {
            let field = |it: &NestedField| format!("{}:{}", it.name, shown(&it.kind));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn shape(rows: &[&str]) -> String {
    shown(&type_of(rows, &NestRules::default()))
}

/// Builds the rows as arrays of a few rows, and checks that their text is equal to the rows.
fn check_round_trip(rows: &[Option<&str>], kind: &NestedType) {
    let mut builder = NestedBuilder::new(kind);
    for block in rows.chunks(7) {
        for row in block {
            builder.push(*row).unwrap_or_else(|_| panic!("{row:?} in {}", shown(kind)));
        }
        let array = builder.finish().unwrap();
        assert_eq!(array.len(), block.len());
        assert!(kind.fits(array.data_type()));
        let values = NestedValues::of(kind, &array).unwrap();
        for (index, row) in block.iter().enumerate() {
            let mut text = String::new();
            values.write(index, &mut text, usize::MAX).unwrap();
            let found = Some(text.as_str());
            assert_eq!(equal_form(found), equal_form(*row), "{row:?} as {}", shown(kind));
            serde_json::from_str::<&RawValue>(&text).unwrap();
        }
    }
}

/// Makes the text of a small JSON value. The scalars include every kind that no type holds.
fn value() -> impl Strategy<Value = String> {
    let scalar = select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-7",
        "9007199254740993",
        "9223372036854775808",
        "1.5",
        "1.50",
        "-0.0",
        "1e3",
        "1e400",
        "0.1234567890123456789012345",
        r#""""#,
        r#""a""#,
        r#""é\n\"\\""#,
        r#""\u00e9\/""#,
        r#""\ud800""#,
        r#""\ud83d\ude4f""#,
        r#""12""#,
        "[]",
        "{}",
    ]);
    let name = select(vec![
        "a", "b", "b", "A", "", "key", r"\u0061", r"\n", r"\ud800", "12345678", "x1", "x2", "x3",
        "a b", "ü",
    ]);
    scalar.prop_map(str::to_owned).prop_recursive(4, 24, 4, move |inner| {
        let member = (name.clone(), inner.clone());
        let joined = |members: Vec<(&str, String)>| {
            let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        prop_oneof![
            vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(member, 0..4).prop_map(joined),
        ]
    })
}

/// Rows that differ little, so that most of them have one type.
fn similar_rows() -> impl Strategy<Value = Vec<Option<String>>> {
    let row = |value: &str, more: &str| {
        format!(r#"{{"id":1,"list":[{{"text":"x","value":{value}}}],"more":{more}}}"#)
    };
    let rows = vec((value(), value(), any::<bool>()), 0..12);
    rows.prop_map(move |rows| {
        rows.iter().map(|(one, two, some)| some.then(|| row(one, two))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn nested_values_equal_their_text(
        rows in prop_oneof![vec(prop::option::of(value()), 0..12), similar_rows()],
        asked in any::<bool>(),
    ) {
        let rows: Vec<_> = rows.iter().map(Option::as_deref).collect();
        // Objects that look like maps become columns, too.
        let paths = [".c", ".c[]", ".c.a", ".c.list[].value", ".c.more"];
        let nest = if asked { paths.map(|it| it.parse().unwrap()).to_vec() } else { Vec::new() };
        let rules = NestRules { nest, ..NestRules::default() };
        check_round_trip(&rows, &resolved(inferred(&rows, 0), &rules));
    }

    #[test]
    fn states_join_in_any_order(
        rows in prop_oneof![vec(prop::option::of(value()), 1..12), similar_rows()],
        cuts in vec(0..12_usize, 2),
        order in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let rows: Vec<_> = rows.iter().map(Option::as_deref).collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| *cut.min(&rows.len())).collect();
        cuts.sort_unstable();
        let blocks = [0..cuts[0], cuts[0]..cuts[1], cuts[1]..rows.len()];
        let mut joined = InferredColumn::default();
        for place in order {
            let block = blocks[place].clone();
            joined.join(inferred(&rows[block.clone()], block.start as u64), MOST_NODES);
        }
        let rules = NestRules::default();
        prop_assert_eq!(resolved(joined, &rules), resolved(inferred(&rows, 0), &rules));
    }
}

#[test]
fn types_hold_every_value() {
    for (rows, expected) in [
        (&["1", "null", "-3"][..], "int"),
        (&["1", "2.5"], "float"),
        (&["1", "9007199254740993", "2.5"], "json(a decimal and an integer beyond 2^53, row 3)"),
        (
            &["1", "9223372036854775808"],
            "json(a number with more digits than a column holds, row 2)",
        ),
        (&["1", "-0"], "json(-0 and integers, row 2)"),
        (&["-0", "0.5"], "float"),
        (&["1e400"], "json(a number with more digits than a column holds, row 1)"),
        (&["1", "\"1\""], "json(number and string, row 2)"),
        (&["{}", "[]", "1"], "json(object and array and number, row 2)"),
        (&["null"], "json(no value)"),
        (&["[]", "[null]"], "[json(no value)]"),
        (&["[1]", "[2.5,null]"], "[float]"),
        (&["{}", "null"], "json(no object has a member, row 1)"),
        (&[r#"{"b":1}"#, r#"{"a":"x","b":null}"#], "{b:int,a:string}"),
        (&[r#"{"a":null}"#], "{a:json(no value)}"),
        (&[r#"{"a":1,"\u0061":2}"#], "json(the same name twice in an object, row 1)"),
        (&[r#"{"a":1}"#, r#"{"A":1}"#], "json(names that differ only in case, row 2)"),
        (&[r#"{"":1}"#], "json(an empty name, row 1)"),
        (&[r#"{"a\nb":1}"#], "json(a control character in a name, row 1)"),
        (&[r#""\ud800""#, "\"a\""], "json(half of a surrogate pair, row 1)"),
        (&[r#"{"a":1}"#, r#"{"\ud800":1}"#], "json(half of a surrogate pair in a name, row 2)"),
        (
            &[r#"{"a":1}"#, r#"{"x":1,"me@example.org":1}"#],
            "json(a name that looks like an id, row 2)",
        ),
        (
            &[r#"{"q1":1,"q2":1}"#, r#"{"q10":1}"#],
            "json(names that differ only in a number, row 2)",
        ),
        (&[r#"{"q1":1,"q2":1}"#], "{q1:int,q2:int}"),
    ] {
        assert_eq!(shape(rows), expected, "{rows:?}");
    }
}

#[test]
fn rare_members_of_one_type_are_a_map() {
    let row = |name: &str| format!(r#"{{"{name}":{{"n":1}}}}"#);
    let rows: Vec<_> = ["to", "by", "at", "in"].into_iter().cycle().take(12).map(row).collect();
    let mut rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(shape(&rows), "json(its members differ from object to object, as in a map)");
    let nest = NestRules { nest: vec![".c".parse().unwrap()], ..NestRules::default() };
    let asked = "{to:{n:int},by:{n:int},at:{n:int},in:{n:int}}";
    assert_eq!(shown(&type_of(&rows, &nest)), asked);
    assert_eq!(shape(&rows[..9]), asked);
    rows.push(r#"{"of":7}"#);
    assert_eq!(shape(&rows), "{to:{n:int},by:{n:int},at:{n:int},in:{n:int},of:int}");
}

#[test]
fn rules_of_the_caller_come_first() {
    let rows = [r#"{"a":[{"b":1,"c":{"12":true}}],"d":1}"#];
    assert_eq!(shape(&rows), "{a:[{b:int,c:json(a name that looks like an id, row 1)}],d:int}");
    let rules = |nest: &[&str], text: &[&str], most_columns| {
        let parsed = |paths: &[&str]| paths.iter().map(|it| it.parse().unwrap()).collect();
        NestRules { nest: parsed(nest), text: parsed(text), most_columns }
    };
    let shown = |rules| shown(&type_of(&rows, &rules));
    assert_eq!(
        shown(rules(&[".c.a[].c"], &[".c.d"], 9)),
        "{a:[{b:int,c:{12:bool}}],d:json(as asked for)}"
    );
    assert_eq!(shown(rules(&[], &[".c.a[]"], 9)), "{a:[json(as asked for)],d:int}");
    assert_eq!(shown(rules(&[], &[], 2)), "json(more columns than `max_columns`)");
    let wide = [r#"{"a":{"b":1,"c":1,"d":1},"e":{"f":1}}"#];
    let kind = type_of(&wide, &rules(&[], &[], 3));
    assert_eq!(tests::shown(&kind), "{a:json(more columns than `max_columns`),e:{f:int}}");
}

#[test]
fn too_many_members_stay_text() {
    let names = |range: std::ops::Range<usize>| {
        let names = range.map(|n| {
            format!(
                "\"{}\":1",
                "abcdefghijklmnopqrstuvwxyz".repeat(2)[..n % 26 + 1].to_owned()
                    + &"_".repeat(n / 26)
            )
        });
        format!("{{{}}}", names.collect::<Vec<_>>().join(","))
    };
    let (few, more, other) = (names(0..400), names(300..513), names(600..1100));
    assert!(type_of(&[&few], &NestRules::default()).leaves() == 400);
    assert_eq!(shape(&[&few, "{}", &more]), "json(more than 512 members, row 3)");
    let mut later = inferred(&[Some(&other), Some(&few)], 10);
    later.join(inferred(&[Some(&more)], 5), MOST_NODES);
    let told = shown(&resolved(later, &NestRules::default()));
    assert_eq!(told, "json(more than 512 members, row 11)");
}

#[test]
fn deep_values_stay_text() {
    let deep = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    assert!(!shape(&[&deep(32)]).contains("deep"));
    let rows = [None, Some(deep(33)), Some(deep(300))];
    let rows: Vec<_> = rows.iter().map(Option::as_deref).collect();
    let kind = resolved(inferred(&rows, 0), &NestRules::default());
    assert!(shown(&kind).contains("json(nested too deeply, row 2)"), "{}", shown(&kind));
    check_round_trip(&rows, &kind);
}

#[test]
fn maps_in_maps_are_bounded() {
    let rows: Vec<String> = (0..400)
        .map(|row| {
            let word = |n: usize| {
                ['a', 'e', 'i', 'o', 'u', 'y'][n % 6].to_string().repeat(n / 6 % 8 + 1)
                    + &"x".repeat(n / 48)
            };
            let inner: Vec<_> = (0..200).map(|n| format!("\"{}\":1", word(n))).collect();
            format!("{{\"{}\":{{{}}}}}", word(row), inner.join(","))
        })
        .collect();
    let rows: Vec<_> = rows.iter().map(|row| Some(row.as_str())).collect();
    let kind = resolved(inferred(&rows, 0), &NestRules::default());
    assert_eq!(shown(&kind), "json(too many different members)");
}

#[test]
fn text_is_bounded() {
    let kind = type_of(&[r#"[{"name":true}]"#], &NestRules::default());
    let mut builder = NestedBuilder::new(&kind);
    builder.push(Some(&format!("[{}]", vec![r#"{"name":true}"#; 1000].join(",")))).unwrap();
    let array = builder.finish().unwrap();
    let values = NestedValues::of(&kind, &array).unwrap();
    let mut text = String::new();
    assert_eq!(values.write(0, &mut text, 100), Err(TextTooLong));
    assert!(text.len() < 200);
}

#[test]
fn values_of_other_types_are_refused() {
    let kind = type_of(&[r#"{"a":1,"b":[true]}"#], &NestRules::default());
    for text in
        [r#"{"a":"x"}"#, r#"{"c":1}"#, r#"{"a":1,"a":2}"#, r#"{"a":1.5}"#, "[", r#"{"b":[1]}"#]
    {
        assert_eq!(NestedBuilder::new(&kind).push(Some(text)), Err(Misfit), "{text}");
    }
    for (kind, text) in [
        (NestedType::Int, "-0"),
        (NestedType::Int, "1.0"),
        (NestedType::Float, "9007199254740993"),
        (NestedType::Float, "0.30000000000000001"),
        (NestedType::Float, "1e400"),
    ] {
        assert_eq!(NestedBuilder::new(&kind).push(Some(text)), Err(Misfit), "{kind:?} {text}");
    }
}

/// Real rows keep their values, and get types that a person understands. Runs where the corpora are.
#[test]
fn corpora_keep_their_values() {
    for (name, most) in [("gsm8k", 3), ("bfcl-core", 40)] {
        let path = format!("{}/../shared/corpora/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let Ok(lines) = fs::read_to_string(Path::new(&path)) else { return };
        let rows: Vec<std::collections::BTreeMap<&str, &RawValue>> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for column in ["input", "expected_output", "tags"] {
            let values: Vec<_> =
                rows.iter().map(|row| row.get(column).map(|it| it.get())).collect();
            let kind = resolved(inferred(&values, 0), &NestRules::default());
            eprintln!("{name} {column}: {}", shown(&kind));
            assert!(kind.leaves() <= most, "{name} {column} {}: {}", kind.leaves(), shown(&kind));
            check_round_trip(&values, &kind);
        }
    }
}
