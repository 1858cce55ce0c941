//! Values that would take too much memory, or that readers do not accept.

use super::*;

/// A list with this many objects without members.
fn empties(count: usize) -> String {
    format!("[{}{{}}]", "{},".repeat(count - 1))
}

/// An object with this many members.
fn wide(count: usize) -> String {
    let members = (0..count).map(|n| format!("\"{}\":1", letters(n)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// A name without digits.
fn letters(mut number: usize) -> String {
    let mut name = "m".to_owned();
    while number > 0 {
        name.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    name
}

#[test]
fn elements_with_many_members_stay_text() {
    // Most of these members are rare.
    let nest = [".c[]", ".c.a[]", ".c.b[]"].map(|it| it.parse().unwrap()).to_vec();
    let rules = NestRules { nest, ..NestRules::default() };
    let members = 500;
    // The most elements that fit, and one more.
    let most = types::MOST_CELLS / members;
    let (fits, more) = (empties(most), empties(most + 1));
    let object = format!("[{}]", wide(members));
    let shown_type = |rows: &[&str]| shown(&type_of(rows, &rules));
    assert!(shown_type(&[&object, &fits]).starts_with("[{m:int,"));
    let text = "[json(a row with too many elements, row 2)]";
    assert_eq!(shown_type(&[&object, &more, &more]), text);
    check_round_trip(&[Some(&object), Some(&more)], &type_of(&[&object, &more], &rules));
    // All lists of a row count.
    let half = empties(most / 2 + 1);
    let two = format!(r#"{{"a":{half},"b":{half}}}"#);
    let objects = format!(r#"{{"a":{object},"b":{object}}}"#);
    let both = shown_type(&[&objects, &two]);
    assert!(both.ends_with(",b:[json(a row with too many elements, row 2)]}"), "{both:.200}");
    // Lists in lists, and elements that take one cell.
    let inner = format!("[{}]", ["[[],[]]"; 10].join(","));
    assert_eq!(shown_type(&[&inner]), "[[[json(no value)]]]");
    let numbers = format!("[{}1]", "1,".repeat(types::MOST_CELLS));
    assert_eq!(shown_type(&["[1]", &numbers]), "json(a row with too many elements, row 2)");
    let fewer = numbers.replacen("1,", "", 1);
    assert_eq!(shown_type(&["[1]", &fewer]), "[int]");
}

#[test]
fn lists_in_lists_stay_text() {
    let lists = |count: usize| format!("{}1{}", "[".repeat(count), "]".repeat(count));
    let kind = type_of(&[&lists(16)], &NestRules::default());
    assert_eq!(shown(&kind), format!("{}int{}", "[".repeat(16), "]".repeat(16)));
    let kind = type_of(&["[[]]", &lists(17)], &NestRules::default());
    assert!(
        shown(&kind).contains("[json(more than 16 lists in each other, row 2)]"),
        "{}",
        shown(&kind)
    );
    assert!(NestedField::new("c", kind).check().is_ok());
}

#[test]
fn schemas_of_types_are_readable() {
    // 900 columns, each in 20 objects of its own.
    let chain = |name: &str| {
        let open = (0..20).map(|n| format!("{{\"{name}{}\":", letters(n))).collect::<String>();
        format!("{open}1{}", "}".repeat(20))
    };
    let members = (0..30).map(|n| format!("\"{}\":{}", letters(n), chain("x")));
    let inner = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    let members = (0..30).map(|n| format!("\"{}\":{inner}", letters(n)));
    let row = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    let kind = type_of(&[&row], &NestRules::default());
    assert!(is_readable(&[NestedField::new("c", kind.clone())], 10));
    assert!(
        shown(&kind).contains("json(more columns and groups than readers accept)"),
        "{:.300}",
        shown(&kind)
    );
    check_round_trip(&[Some(&row)], &kind);
    assert!(!is_readable(&[], 4_000));
}

#[test]
fn given_types_refuse_too_many_elements() {
    let kind = type_of(&[&format!("[{}]", wide(400))], &NestRules::default());
    let most = types::MOST_CELLS / 400;
    assert!(NestedBuilder::new(&kind).push(Some(&empties(most))).is_ok());
    let more = empties(most + 1);
    assert_eq!(NestedBuilder::new(&kind).push(Some(&more)), Err(Misfit));
    let mut rescue = Rescue::new(1);
    assert_eq!(rescue.fitting(("c", &kind), 0, &more).unwrap(), "null");
    let object = rescue.objects().next().flatten().unwrap();
    let restored = RescuedRow::parse(&object).unwrap().restore("c", None).unwrap();
    assert_eq!(restored, Some(more.clone()));
    // In a row of several lists, those before it stay.
    let lists = NestedType::List { item: Box::new(kind) };
    let text = format!("[[{{}}],{more},[{{}}]]");
    let mut rescue = Rescue::new(1);
    let fitting = rescue.fitting(("c", &lists), 0, &text).unwrap();
    assert_eq!(fitting, "[[{}],null,[{}]]");
    assert!(NestedBuilder::new(&lists).push(Some(&fitting)).is_ok());
}

#[test]
fn rescued_paths_are_shorter_than_readers_accept() {
    // The path of each element would take 65 bytes.
    let name = "m".repeat(50);
    let kind = type_of(&[&format!(r#"{{"{name}":[1]}}"#)], &NestRules::default());
    let text = format!(r#"{{"{name}":[{}true]}}"#, "true,".repeat(LONGEST / 60));
    let mut rescue = Rescue::new(1);
    assert_eq!(rescue.fitting(("c", &NestedType::Int), 0, "true").unwrap(), "null");
    assert_eq!(rescue.fitting(("d", &kind), 0, &text).unwrap(), "null");
    let object = rescue.objects().next().flatten().unwrap();
    assert!(object == format!(r#"{{".c":true,".d":{text}}}"#));
    let mut row = RescuedRow::parse(&object).unwrap();
    assert!(row.restore("d", None).unwrap() == Some(text));
}

#[test]
fn too_long_rescued_rows_are_found() {
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let mut rescue = Rescue::new(3);
    let mut add = |row: usize, column: &str, length: usize| {
        rescue.fitting((column, &NestedType::Int), row, &text(length)).unwrap();
        rescue.too_long
    };
    // The longest object that readers accept: {".c":"…",".d":"…"}
    let half = LONGEST / 2 - 6;
    assert_eq!(add(0, "c", half), None);
    assert_eq!(add(1, "c", half + 1), None);
    assert_eq!(add(0, "d", half - 1), None);
    assert_eq!(add(1, "d", half - 1), Some((1, LONGEST + 1)));
    assert_eq!(add(2, "c", LONGEST), Some((1, LONGEST + 1)));
    assert_eq!(rescue.objects().next().flatten().unwrap().len(), LONGEST);
}

#[test]
fn values_that_grow_beyond_readers_stay_text() {
    // Each escape of two bytes is written with six.
    let count = LONGEST / 6 + 1;
    let text = format!("\"{}\"", "\\b".repeat(count));
    let kind = type_of(&["\"a\"", &text], &NestRules::default());
    assert_eq!(shown(&kind), "json(a value whose usual spelling is too long, row 2)");
    let fits = format!("\"{}\"", "\\b".repeat(count - 2));
    assert_eq!(type_of(&[&fits], &NestRules::default()), NestedType::String);
    // What is long anyway is not the fault of the spelling.
    let long = format!("\"{}\"", "x".repeat(LONGEST + 10));
    assert_eq!(type_of(&[&long], &NestRules::default()), NestedType::String);
    for (text, longest) in [("1e15", "1000000000000000.0"), ("-1E0", "-1.0"), ("7", "7.0")] {
        let mut builder = NestedBuilder::new(&NestedType::Float);
        builder.push(Some(text)).unwrap();
        let (array, mut written) = (builder.finish().unwrap(), String::new());
        let values = NestedValues::of(&NestedType::Float, &array).unwrap();
        values.write(0, &mut written, 100).unwrap();
        assert_eq!(written, longest);
    }
}
