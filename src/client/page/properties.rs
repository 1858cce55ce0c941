//! Property tests: any bytes decode to a page or to an error, without a panic and in bounded time.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    invariants::{assert_scanned_as_parsed, decode},
    wire,
};

const ID: &str = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e";

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1e400".to_owned()),
        Just(r#""\ud800\u0000\"ü\\""#.to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,9}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" , "))),
            vec(inner, 0..4).prop_map(|items| {
                let pairs: Vec<_> = items.iter().map(|item| format!("\"k\": {item}")).collect();
                format!("{{{}}}", pairs.join(",\n"))
            }),
        ]
    })
}

fn row() -> impl Strategy<Value = String> {
    let order = prop::option::of(0..=i64::MAX);
    (any::<u128>(), order, vec(json(), 4), "[^\"\\\\\\x00-\\x1f]{0,9}").prop_map(
        |(id, order, values, persona)| {
            let id = uuid::Uuid::from_u128(id);
            let order = order.map_or("null".to_owned(), |order| order.to_string());
            let [input, expected, tags, extra] = &values[..] else { unreachable!() };
            format!(
                r#"{{"id":"{id}","order":{order},"input":{input},"expected_output":{expected},
                "persona":"{persona}","tags":{tags},"extra":{extra}}}"#
            )
        },
    )
}

fn page() -> impl Strategy<Value = String> {
    vec(row(), 0..5).prop_map(|rows| {
        let (count, rows) = (rows.len(), rows.join(","));
        format!(
            r#"{{"count":{count},"next":"http://a/?page=8","previous":null,"results":[{rows}]}}"#
        )
    })
}

/// A change to the bytes of a page.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let tokens = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "-",
        "0",
        "1e999",
        "\u{feff}",
        "\\ud800",
        "\"id\":",
        "\"order\":\"7\",",
        "\"persona\":[],",
        "\"results\":[],",
        "\"count\":-1,",
        "\0",
    ]);
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, mask)| Mutation::Flip(at, mask)),
        at().prop_map(Mutation::Cut),
        (at(), at()).prop_map(|(from, to)| Mutation::Remove(from, to)),
        (at(), at()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        (at(), tokens).prop_map(|(at, token)| Mutation::Insert(at, token)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // There is one place more than there are bytes, because the end is a place too.
        let place = |index: &Index| index.index(bytes.len() + 1);
        let range = |from: &Index, to: &Index| {
            let (from, to) = (place(from), place(to));
            from.min(to)..from.max(to)
        };
        match self {
            Self::Flip(at, mask) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Remove(from, to) => drop(bytes.drain(range(from, to))),
            Self::Repeat(from, to) => bytes.extend_from_within(range(from, to)),
            Self::Insert(at, token) => {
                let at = place(at);
                drop(bytes.splice(at..at, token.bytes()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_a_page_or_an_error(body in vec(any::<u8>(), 0..2000)) {
        drop(decode(body));
    }

    #[test]
    fn a_valid_page_is_a_page(body in page()) {
        prop_assert!(assert_scanned_as_parsed(&body));
        prop_assert!(assert_scanned_as_parsed(&crate::client::compact::compact(&body)));
        prop_assert!(decode(body.into_bytes()).is_ok());
    }

    #[test]
    fn a_mutated_page_is_a_page_or_an_error(body in page(), changes in vec(mutation(), 1..6)) {
        let mut body = body.into_bytes();
        changes.iter().for_each(|change| change.apply(&mut body));
        drop(decode(body));
    }

    // The scanner works in blocks. An error would depend on the places of quotes and backslashes in a block.
    #[test]
    fn string_ends_are_found_at_any_block_offset(
        strings in vec("([\\\\\"a{,: ]|[x-z]{5}|\\\\{1,70}|ü){0,40}", 1..6),
        shift in 0..70_usize,
        quoted: bool,
    ) {
        let texts = strings.iter().map(|text| match quoted {
            true => serde_json::Value::from(text.as_str()).to_string(),
            false => format!("\"{text}\""),
        });
        let (spaces, tags) = (" ".repeat(shift), texts.collect::<Vec<_>>().join(","));
        let body = format!(
            r#"{{"count":1,{spaces}"next":null,"results":[{{"id":"{ID}","tags":[{tags}]}}]}}"#
        );
        let taken = assert_scanned_as_parsed(&body);
        prop_assert_eq!(taken, wire::decode(&body).is_ok());
    }
}

/// Values that the scanner must accept, and values that it must leave to the parser.
#[test]
fn scanner_accepts_valid_and_leaves_invalid_json() {
    let taken = [
        "0",
        "-1",
        "1.5e+7",
        "1E-2",
        "-0.0",
        "true",
        "[]",
        "{}",
        "[{}]",
        r#"{"a":[[],{"b":{}}]}"#,
        r#""\/\b\ud800""#,
        "[\n1 ,\t2\r]",
        "{ }",
        "[ ]",
    ];
    let left = [
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "tru",
        "truex",
        "nul",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{1:2}"#,
        r#"{"a" "b"}"#,
        r#""\x""#,
        r#""\u12g4""#,
        "\"\t\"",
        "\u{b}1",
        "1\u{a0}",
        r#"["a" "b"]"#,
        r#""a"b"#,
        r#"\"a""#,
        "[1]]",
        "[[1]",
        ":",
        "",
        "\u{feff}1",
        "--1",
        "1-",
        "nulll",
        "[\"a\\\"]",
    ];
    let body = |input: &str| {
        format!(r#"{{"count":1,"next":null,"results":[{{"id":"{ID}","input":{input}}}]}}"#)
    };
    for input in taken {
        assert!(assert_scanned_as_parsed(&body(input)), "{input}");
    }
    for input in left {
        assert!(!assert_scanned_as_parsed(&body(input)), "{input}");
        assert!(wire::decode(&body(input)).is_err(), "{input}");
    }
}

/// The scanner rejects some rare but valid pages, because a special case for them is not worth it.
#[test]
fn parser_handles_pages_the_scanner_rejects() {
    let deep = format!("{}{}", "[".repeat(66), "]".repeat(66));
    let row = |fields: &str| format!(r#"{{"id":"{ID}",{fields}}}"#);
    let page = |row: &str| format!(r#"{{"count":1,"next":null,"results":[{row}]}}"#);
    let left = [
        page(&row(&format!(r#""input":{deep}"#))),
        page(&format!(r#"{{"\u0069d":"{ID}"}}"#)).replace("count", "co\\u0075nt"),
        page(&format!(r#"{{"id":"\u0031{}"}}"#, &ID[1..])),
        format!(r#"[1,null,[{{"id":"{ID}"}}]]"#),
    ];
    for body in left {
        assert!(!assert_scanned_as_parsed(&body), "{body}");
        assert_eq!(decode(body.into_bytes()).unwrap().len(), 1);
    }
    let refused = [r#""order":-0"#, r#""order":1.0"#, r#""tags":1,"tags":1"#, r#""persona":1"#];
    for fields in refused {
        assert!(!assert_scanned_as_parsed(&page(&row(fields))), "{fields}");
        assert!(decode(page(&row(fields)).into_bytes()).is_err(), "{fields}");
    }
}

#[test]
fn row_with_a_million_fields_fails_in_linear_time() {
    // Unknown fields, followed by many copies of a known field. A comparison of each field with all fields
    // before it would take quadratic time.
    let unknown: String = (0..500_000).map(|index| format!("\"x{index}\":0,")).collect();
    let known = "\"tags\":0,".repeat(500_000);
    let row = format!("{{{unknown}{known}\"id\":\"{ID}\"}}");
    let body = format!(r#"{{"count":1,"next":null,"results":[{row}]}}"#);
    let error = decode(body.into_bytes()).unwrap_err().to_string();
    assert_eq!(error, "row 0, field \"tags\": field \"tags\" appears twice");
}
