//! Values that do not fit their types: taken out, put back, and the wider types that hold them.

use super::{
    super::{
        expected_columns,
        rescue::{RESCUED, Rescue},
        restore::{RescuedRow, WrongRescue},
        widened,
    },
    *,
};

/// Returns the fitting text of rows of the column `c` and their rescued values, as files have them.
fn split(rows: &[Option<&str>], kind: &NestedType) -> Vec<(Option<String>, Option<String>)> {
    let mut rescue = Rescue::new(rows.len());
    let mut fitting = |row: usize, text: &str| rescue.fitting(("c", kind), row, text).unwrap();
    let texts: Vec<_> =
        rows.iter().enumerate().map(|(row, text)| text.map(|text| fitting(row, text))).collect();
    texts.into_iter().zip(rescue.objects()).collect()
}

fn restored(fitting: Option<&str>, object: &str) -> Result<Option<String>, WrongRescue> {
    let mut row = RescuedRow::parse(object)?;
    let text = row.restore("c", fitting)?;
    if row.is_empty() { Ok(text) } else { Err(WrongRescue) }
}

/// Builds the fitting rows as arrays, and checks that they and the rescued values are equal to the rows.
fn check_rescue(rows: &[Option<&str>], kind: &NestedType) -> usize {
    let (mut builder, mut rescued) = (NestedBuilder::new(kind), 0);
    let split = split(rows, kind);
    for (fitting, _) in &split {
        builder
            .push(fitting.as_deref())
            .unwrap_or_else(|_| panic!("{fitting:?} in {}", shown(kind)));
    }
    let array = builder.finish().unwrap();
    let values = NestedValues::of(kind, &array).unwrap();
    for (index, ((fitting, object), row)) in split.iter().zip(rows).enumerate() {
        let mut text = values.is_valid(index).then(String::new);
        if let Some(text) = &mut text {
            values.write(index, text, usize::MAX).unwrap();
        }
        if let Some(object) = object {
            rescued += 1;
            text = restored(text.as_deref(), object)
                .unwrap_or_else(|_| panic!("{row:?} as {}: {fitting:?} and {object}", shown(kind)));
        }
        assert_eq!(equal_form(text.as_deref()), equal_form(*row), "{row:?} as {}", shown(kind));
        if let Some(text) = text {
            serde_json::from_str::<&RawValue>(&text).unwrap();
        }
    }
    rescued
}

fn wider(kind: &NestedType, rows: &[Option<&str>]) -> NestedType {
    let types = [NestedField::new("c", kind.clone())];
    let mut columns = expected_columns(&types, ["c"].into_iter());
    for (row, text) in (1..).zip(rows) {
        text.map_or(Ok(()), |text| columns.add(0, text, row)).unwrap();
    }
    widened(&types, &columns, 0).remove(0).kind
}

fn some_rows() -> impl Strategy<Value = Vec<Option<String>>> {
    prop_oneof![vec(prop::option::of(value()), 0..12), similar_rows()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn rescued_values_lose_nothing(pinned in some_rows(), rows in some_rows(), asked in any::<bool>()) {
        let pinned: Vec<_> = pinned.iter().map(Option::as_deref).collect();
        let rows: Vec<_> = rows.iter().map(Option::as_deref).collect();
        let paths = [".c", ".c[]", ".c.a", ".c.list[].value", ".c.more"];
        let nest = if asked { paths.map(|it| it.parse().unwrap()).to_vec() } else { Vec::new() };
        let kind = resolved(inferred(&pinned, 0), &NestRules { nest, ..NestRules::default() });
        check_rescue(&rows, &kind);
        prop_assert_eq!(check_rescue(&pinned, &kind), 0);
        // Types alone need no wider ones, and wider types hold every value.
        prop_assert_eq!(wider(&kind, &[]), kind.clone());
        let wide = wider(&kind, &rows);
        prop_assert_eq!(check_rescue(&rows, &wide), 0, "{} as {}", shown(&kind), shown(&wide));
        check_round_trip(&rows, &wide);
        prop_assert_eq!(wider(&wide, &rows), wide);
    }

    #[test]
    fn objects_of_other_rows_are_wrong_or_valid(fitting in value(), path in "[.\\[\\]a-c0\"]{0,8}", raw in value()) {
        let object = format!("{{{}:{raw}}}", serde_json::to_string(&format!(".c{path}")).unwrap());
        if let Ok(Some(text)) = restored(Some(&fitting), &object) {
            let valid = serde_json::from_str::<&RawValue>(&text).is_ok();
            prop_assert!(valid || text.contains("\\ud800"), "{}", text);
        }
    }
}

#[test]
fn values_are_rescued_by_path() {
    let kind = type_of(
        &[r#"{"n":1,"f":0.5,"s":"x","list":[{"b":true}],"none":null,"a b":{"in":"x"}}"#],
        &NestRules::default(),
    );
    let told = |text: &str| {
        let (fitting, object) = split(&[Some(text)], &kind).remove(0);
        (fitting.unwrap(), object.unwrap_or_default())
    };
    for (text, fitting, object) in [
        (r#"{"n":2,"list":[]}"#, r#"{"n":2,"list":[]}"#, ""),
        (r#"{"n":"2","s":"x"}"#, r#"{"n":null,"s":"x"}"#, r#"{".c.n":"2"}"#),
        (r#"{"n":9223372036854775808}"#, r#"{"n":null}"#, r#"{".c.n":9223372036854775808}"#),
        (r#"{"n":1.0,"f":1e400}"#, r#"{"n":null,"f":null}"#, r#"{".c.n":1.0,".c.f":1e400}"#),
        (r#"{"f":9007199254740993}"#, r#"{"f":null}"#, r#"{".c.f":9007199254740993}"#),
        (
            r#"{"list":[{"b":true},7,{"b":[]},{"x":1}]}"#,
            r#"{"list":[{"b":true},null,{"b":null},{}]}"#,
            r#"{".c.list[1]":7,".c.list[2].b":[],".c.list[3].x":1}"#,
        ),
        // Null and a missing member are the same. A node without values takes any text.
        (r#"{"new":null,"none":[1, 2]}"#, r#"{"none":[1, 2]}"#, ""),
        (r#"{"N":1,"":2}"#, "{}", r#"{".c.N":1,".c[\"\"]":2}"#),
        (r#"{"a b":{"in":5}}"#, r#"{"a b":{"in":null}}"#, r#"{".c[\"a b\"].in":5}"#),
        // Two members of one name have no paths of their own.
        (r#"{"n":1,"n":2}"#, "null", r#"{".c":{"n":1,"n":2}}"#),
        (r#"{"\ud800":1}"#, "null", r#"{".c":{"\ud800":1}}"#),
        (r#"{"s":"\ud800"}"#, r#"{"s":null}"#, r#"{".c.s":"\ud800"}"#),
        ("[1]", "null", r#"{".c":[1]}"#),
    ] {
        assert_eq!(told(text), (fitting.to_owned(), object.to_owned()), "{text}");
        check_rescue(&[Some(text), None], &kind);
    }
}

#[test]
fn first_paths_are_named() {
    let kind = type_of(&[r#"[{"n":1}]"#], &NestRules::default());
    let mut rescue = Rescue::new(1);
    let more: Vec<_> = (0..99).map(|it| format!(r#"{{"n":"x","m{it}":1}}"#)).collect();
    rescue.fitting(("c", &kind), 0, &format!("[{}]", more.join(","))).unwrap();
    assert_eq!(rescue.paths.0.len(), 10);
    assert_eq!(rescue.paths.0[..3], [".c[].n", ".c[].m0", ".c[].m1"]);
    let mut rescue = Rescue::new(1);
    let long = "ü".repeat(300);
    rescue.fitting(("c", &kind), 0, &format!(r#"[{{"{long}":1}}]"#)).unwrap();
    assert!(rescue.paths.0[0].len() <= 204 && rescue.paths.0[0].ends_with('…'));
}

#[test]
fn objects_that_do_not_belong_to_the_row_are_refused() {
    let fitting = Some(r#"{"n":1,"list":[null,{"b":true}]}"#);
    let right = r#"{".c.list[0]":"x",".c.m":2}"#;
    let expected = r#"{"n":1,"list":["x",{"b":true}],"m":2}"#;
    assert_eq!(restored(fitting, right).unwrap().as_deref(), Some(expected));
    assert_eq!(restored(None, r#"{".c":7}"#).unwrap().as_deref(), Some("7"));
    let deep = format!(r#"{{".c{}":1}}"#, "[0]".repeat(100_000));
    for object in [
        "",
        "[]",
        "{}",
        "null",
        r#"{".c.m":}"#,
        r#"{".c.n":2}"#,
        r#"{".c.list[2]":1}"#,
        r#"{".c.list[18446744073709551615]":1}"#,
        r#"{".c.list[99999999999999999999]":1}"#,
        r#"{".c.list[00]":1}"#,
        r#"{".c.list[+0]":1}"#,
        r#"{".c.list[-1]":1}"#,
        r#"{".c.list.x":1}"#,
        r#"{".c.n.x":1}"#,
        r#"{".c.m.x":1}"#,
        r#"{".c":1}"#,
        r#"{".c.m":1,".c.m":2}"#,
        r#"{".c.m":1,".c[\"m\"]":2}"#,
        r#"{".c.m":1,".c.m.x":2}"#,
        r#"{".c.m.x":2,".c.m":1}"#,
        r#"{".d":1}"#,
        r#"{"c.m":1}"#,
        r#"{".c.":1}"#,
        r#"{".c[":1}"#,
        &deep,
    ] {
        assert_eq!(
            restored(fitting, object),
            Err(WrongRescue),
            "{}",
            &object[..object.len().min(99)]
        );
    }
    assert_eq!(restored(None, r#"{".c.n":1}"#), Err(WrongRescue));
}

#[test]
fn wider_types_keep_what_they_had() {
    let kind = type_of(
        &[r#"{"n":1,"s":"x","list":[],"mixed":"x"}"#, r#"{"mixed":1,"none":null}"#],
        &NestRules::default(),
    );
    let told =
        |rows: &[&str]| shown(&wider(&kind, &rows.iter().copied().map(Some).collect::<Vec<_>>()));
    let before = "{n:int,s:string,list:[json(no value)],mixed:json(string and number, row 2),none:json(no value)}";
    assert_eq!(shown(&kind), before);
    assert_eq!(told(&[r#"{"n":3,"mixed":true}"#]), before);
    assert_eq!(
        told(&[r#"{"n":1.5,"s":"y","list":[1],"none":{"x":1},"new":[true]}"#, r#"{"s":5}"#]),
        "{n:float,s:json(string and number, row 2),list:[int],mixed:json(string and number, row 2),\
         none:{x:int},new:[bool]}"
    );
    // A member whose name looks like an id does not turn the struct into text.
    assert!(told(&[r#"{"me@example.org":1}"#]).starts_with("{n:int,"));
    assert_eq!(told(&["7"]), "json(object and number, row 1)");
    let file = NestedField::rescued();
    assert_eq!((file.name.as_str(), file.kind.is_text()), (RESCUED, true));
}
