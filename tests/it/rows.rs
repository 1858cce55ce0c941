//! Datapoints that are hard to preserve: the JSON from the API, and the expected values in a file.
//!
//! This module computes the expected values independently of the program.

use overmind_export::Column;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A datapoint before and after an export.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The JSON text that the API sends.
    pub(crate) wire: String,
    /// The expected values, in the order of [`Column::ALL`]. A JSON column contains JSON text.
    pub(crate) columns: [Option<String>; 7],
}

/// JSON texts that a JSON tree, a float or a string type would change. `None` is a missing field.
const VALUES: &[Option<&str>] = &[
    None,
    Some("null"),
    Some("true"),
    Some("false"),
    Some("0"),
    Some("-0"),
    Some("-0.0"),
    Some("1.50"),
    Some("0.1000000000000000055511151231257827"),
    Some("123456789012345678901234567890"),
    Some("1e400"),
    Some("-1E-400"),
    Some(r#""""#),
    Some(r#""plain""#),
    Some(r#""null""#),
    Some("\"größe 😀\""),
    Some(r#""\u0000 \/ \u00fc \uD83D\uDE00""#),
    Some(r#""\ud800""#),
    Some(r#""\udc00 before \ud83d""#),
    Some(r#""  spaces \" , : \\\" and \\\\  ""#),
    Some("[]"),
    Some("{}"),
    Some("[ ]"),
    Some("{\n}"),
    Some("\t{ \"a b\" :\r\n\t[ 1 , -2.50e+3 ,\"x  y\" , { } ] ,\n \"\\u0061\" : null }\n"),
    Some(r#"{"z":1,"a":{"y":[1,2,{"b":null}]},"m":false}"#),
    Some(r#"{"a":1,"a":2,"b":{"a":"","a":null}}"#),
    Some(r#"{"":{"\ud800":[[[[[[]]]]]]}}"#),
];

const PERSONAS: &[Option<&str>] = &[
    None,
    Some("null"),
    Some(r#""""#),
    Some(r#""frustrated customer""#),
    Some(r#""\u0000 \" \\ \/ \n\t""#),
    Some(r#""\u00fc\ud83d\ude00""#),
    Some("\" null \""),
];

const ORDERS: &[Option<&str>] =
    &[None, Some("null"), Some("0"), Some("9223372036854775807"), Some("-1"), Some("7")];

/// Unknown fields: name and value, as JSON texts.
const UNKNOWN: &[&[(&str, &str)]] = &[
    &[],
    &[(r#""source_trace_id""#, r#""0af7651916cd43dd""#)],
    &[(r#""extra""#, "null")],
    &[(r#""extra""#, "{ \"a\" : [ 1e400 ,\n\"\\ud800\" ] }"), (r#""source_trace_id""#, "null")],
    &[(r#""extra""#, "1"), (r#""extra""#, "2")],
    &[(r#""a \"quoted\" näme""#, "[]"), (r#""\u0065xtra\n\ud800""#, r#""\u0065""#)],
    &[(r#""additional_properties""#, "{}")],
    &[(r#""""#, r#""""#)],
];

/// Rows that together contain every case in every column.
pub(crate) fn hard() -> Vec<Source> {
    let persona = format!("\"{}\"", "😀".repeat(128));
    let personas = PERSONAS.iter().copied().chain([Some(&*persona)]);
    let long = format!("\"{} \\\" {}\"", "x ".repeat(5_000_000), "ü".repeat(100));
    let deep = format!("{}{}", "[ ".repeat(500), "] ".repeat(500));
    let values: Vec<_> = VALUES.iter().copied().chain([Some(&*long), Some(&*deep)]).collect();
    let mut personas = personas.cycle();
    let mut orders = ORDERS.iter().copied().cycle();
    let mut unknown = UNKNOWN.iter().copied().cycle();
    (0..values.len())
        .map(|index| {
            // Only one column has the long text. Otherwise a page would exceed the size limit of a body.
            let at = |shift: usize| match values[(index + shift) % values.len()] {
                Some(text) if text.len() > 1 << 20 => Some("\"short\""),
                value => value,
            };
            row(
                index as u64,
                orders.next().unwrap_or_default(),
                [values[index], at(11), at(19)],
                personas.next().unwrap_or_default(),
                unknown.next().unwrap_or_default(),
            )
        })
        .collect()
}

/// Small plain rows.
pub(crate) fn small(count: u64) -> Vec<Source> {
    (0..count)
        .map(|index| {
            let (order, input) = (index.to_string(), format!(r#"{{"question":"{index} ?"}}"#));
            let persona = format!("\"persona {}\"", index % 7);
            let values = [Some(&*input), None, Some(r#"["a"]"#)];
            row(index, Some(&order), values, Some(&persona), &[])
        })
        .collect()
}

/// The JSON texts of these rows, as the API sends them.
pub(crate) fn wire(rows: &[Source]) -> Vec<String> {
    rows.iter().map(|row| row.wire.clone()).collect()
}

/// The id of the row with this number.
pub(crate) fn id(number: u64) -> Uuid {
    Uuid::from_u128(0x0123_4567_89ab_4cde_8000_0000_0000_0000 | u128::from(number))
}

/// A JSON text without the white space outside its strings. Works character by character, without a parser.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = in_string,
                '"' => in_string = !in_string,
                _ => {}
            }
            in_string || !matches!(c, ' ' | '\t' | '\r' | '\n')
        })
        .collect()
}

fn row(
    number: u64,
    order: Option<&str>,
    [input, expected_output, tags]: [Option<&str>; 3],
    persona: Option<&str>,
    unknown: &[(&str, &str)],
) -> Source {
    let id = id(number).to_string();
    let quoted = format!("\"{id}\"");
    let known = [
        (Column::Id, Some(&*quoted)),
        (Column::ExpectedOutput, expected_output),
        (Column::Input, input),
        (Column::Order, order),
        (Column::Persona, persona),
        (Column::Tags, tags),
    ];
    let mut fields: Vec<(String, &str)> = known
        .into_iter()
        .filter_map(|(column, text)| Some((format!("\"{column}\""), text?)))
        .collect();
    // Unknown fields are placed between the known fields and keep their order.
    for (place, (name, text)) in unknown.iter().enumerate() {
        fields.insert(2 * place, ((*name).to_owned(), text));
    }
    let fields: Vec<_> =
        fields.into_iter().map(|(name, text)| format!("{name} :\t{text}")).collect();
    let json = |text: Option<&str>| text.filter(|text| *text != "null").map(compact);
    let objects: Vec<_> =
        unknown.iter().map(|(name, text)| format!("{name}:{}", compact(text))).collect();
    Source {
        wire: format!("{{ {}\n}}", fields.join(" ,\n  ")),
        columns: [
            Some(id),
            order.filter(|text| *text != "null").map(str::to_owned),
            json(input),
            json(expected_output),
            persona.and_then(|text| serde_json::from_str(text).unwrap()),
            json(tags),
            (!unknown.is_empty()).then(|| format!("{{{}}}", objects.join(","))),
        ],
    }
}

/// The expected values of a row, computed from its JSON text.
pub(crate) fn parsed(wire: String) -> Source {
    let fields: Fields = serde_json::from_str(&wire).unwrap();
    let text = |column: Column| {
        let field = fields.0.iter().find(|(name, _)| name == column.name());
        field.map(|(_, text)| &**text).filter(|text| *text != "null")
    };
    let string = |column| text(column).and_then(|text| serde_json::from_str(text).unwrap());
    let json = |column| text(column).map(compact);
    let unknown: Vec<_> = fields
        .0
        .iter()
        .filter(|(name, _)| Column::ALL[..6].iter().all(|column| column.name() != name))
        .map(|(name, text)| format!("\"{name}\":{}", compact(text)))
        .collect();
    let columns = [
        string(Column::Id),
        text(Column::Order).map(str::to_owned),
        json(Column::Input),
        json(Column::ExpectedOutput),
        string(Column::Persona),
        json(Column::Tags),
        (!unknown.is_empty()).then(|| format!("{{{}}}", unknown.join(","))),
    ];
    Source { wire, columns }
}

/// The fields of a JSON object in their order. Values are unchanged JSON texts.
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push((name, value.get().to_owned()));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
