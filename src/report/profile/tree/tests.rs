use super::*;

fn tree(rows: &[&str], first: u64) -> JsonTree {
    let mut tree = JsonTree::default();
    for (row, text) in (first..).zip(rows) {
        tree.add(text, row, &mut |_| ()).unwrap();
    }
    tree
}

fn lines(node: &TreeNode, path: &str, out: &mut Vec<String>) {
    let kinds: Vec<_> = node.kinds().map(|(kind, it)| format!("{} {it}", kind.name())).collect();
    let map = if node.is_map { " map" } else { "" };
    out.push(format!("{path} {}/{} {}{map}", node.rows, node.values, kinds.join(", ")));
    for member in &node.members {
        lines(&member.node, &format!("{path}.{}", member.name), out);
    }
    if let Some(item) = &node.item {
        lines(item, &format!("{path}[]"), out);
    }
}

fn shown(tree: &JsonTree) -> Vec<String> {
    let mut out = Vec::new();
    lines(&tree.root, "", &mut out);
    out
}

const ROWS: [&str; 4] = [
    r#"{"a":1,"b":[{"c":"x"},{"c":null}]}"#,
    r#"{"b":[],"a":1.5,"\u0064":true}"#,
    r#""text""#,
    r#"{"b":[{"c":"y","e":{}}]}"#,
];

#[test]
fn keys_are_counted_by_row_and_type() {
    let expected = [
        " 4/4 string 1, object 3",
        ".a 2/2 integer 1, number 1",
        ".b 3/3 array 3",
        ".b[] 2/3 object 3",
        ".b[].c 2/3 null 1, string 2",
        ".b[].e 1/1 object 1",
        ".d 1/1 boolean 1",
    ];
    assert_eq!(shown(&tree(&ROWS, 1)), expected);
    // Joined in any order.
    let (mut first, last) = (tree(&ROWS[..2], 1), tree(&ROWS[2..], 3));
    let mut joined = tree(&ROWS[2..], 3);
    joined.join(tree(&ROWS[..2], 1));
    first.join(last);
    for mut tree in [first, joined] {
        tree.root.sort();
        assert_eq!(shown(&tree), expected);
    }
}

#[test]
fn maps_and_large_trees_are_bounded() {
    let map = |row: usize| format!(r#"{{"k{row}":{{"x":{row}}}}}"#);
    let rows: Vec<String> = (0..600).map(map).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(shown(&tree(&rows, 1)), [" 600/600 object 600 map"]);
    let mut halves = tree(&rows[..300], 1);
    halves.join(tree(&rows[300..], 301));
    assert_eq!(shown(&halves), [" 600/600 object 600 map"]);
    let wide = |row: usize| {
        let inner: Vec<_> = (0..500).map(|it| format!(r#""m{it}":{it}"#)).collect();
        format!(r#"{{"k{row}":{{{}}}}}"#, inner.join(","))
    };
    let rows: Vec<String> = (0..100).map(wide).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let full = tree(&rows, 1);
    assert!(full.is_overfull);
    assert_eq!(shown(&full), [" 100/100 object 100"]);
}

#[test]
fn long_keys_are_cut() {
    let key = "é".repeat(40);
    let text = format!(r#"{{"{key}":{{"role":"user","content":"hi"}}}}"#);
    let cut = format!(".{}…", "é".repeat(32));
    assert!(shown(&tree(&[&text], 1)).iter().any(|line| line.contains(&cut)));
}

#[test]
fn turns_are_found_where_the_tree_has_no_nodes() {
    let mut tree = JsonTree::default();
    for row in 1..=600 {
        let text = format!(r#"{{"k{row}":[{{"role":"user","content":"hi"}}]}}"#);
        let content = tree.add(&text, row, &mut |_| ()).unwrap();
        assert_eq!((content.turns, content.bytes), (1, 6), "{row}");
    }
    assert!(tree.root.is_map);
}

#[test]
fn turns_need_a_role_and_a_content() {
    let mut roles = Vec::new();
    let text = r#"{"messages":[[{"role":"user","content":"hi"},{"role":"a\u0062","tool_calls":[]}]],
        "role":"none","n":[{"role":7,"content":""}]}"#;
    let mut tree = JsonTree::default();
    let content = tree.add(text, 1, &mut |turn| roles.push(turn.role.to_owned())).unwrap();
    assert_eq!((content.turns, roles), (2, vec!["user".to_owned(), "ab".to_owned()]));
}

#[test]
fn empty_values_have_no_content() {
    for (text, bytes, others) in [
        ("null", 0, 0),
        (r#"" \n ""#, 0, 0),
        (r#"{"a":[null,"",{}]}"#, 0, 0),
        ("[false]", 0, 1),
        (r#"{"a":" x ","n":7}"#, 1, 1),
    ] {
        let content = JsonTree::default().add(text, 1, &mut |_| ()).unwrap();
        assert_eq!((content.bytes, content.others), (bytes, others), "{text}");
    }
    assert_eq!(JsonTree::default().add("[1", 1, &mut |_| ()), Err(MalformedJson));
}

#[test]
fn missing_keys_have_their_first_row() {
    let rows = [r#"{"a":1}"#, r#"{"a":1,"b":1}"#, r#"{"b":1}"#, r#""x""#, r#"{"a":1,"b":1}"#];
    let missing = |tree: &JsonTree| -> Vec<(String, u64)> {
        let all = tree.root.members.iter();
        all.map(|it| (it.name.to_string(), it.missing_row)).collect()
    };
    let expected = [("a".to_owned(), 3), ("b".to_owned(), 1)];
    for cut in 0..=rows.len() {
        let (mut first, last) = (tree(&rows[..cut], 1), tree(&rows[cut..], cut as u64 + 1));
        first.join(last);
        first.root.sort();
        assert_eq!(missing(&first), expected, "{cut}");
    }
}

#[test]
fn turns_without_text_are_empty() {
    let text = r#"[{"role":"a","content":" "},{"role":"b","content":"","tool_calls":[{"id":"1"}]},
        {"role":"c","name":"n","content":null},{"role":"d","content":[{"text":""}]},
        {"role":"e","content":[{"type":"text","text":"hi"}]},{"role":"f","content":7}]"#;
    let mut empty = Vec::new();
    let mut see = |turn: SeenTurn<'_>| empty.extend(turn.is_empty.then(|| turn.role.to_owned()));
    JsonTree::default().add(text, 1, &mut see).unwrap();
    assert_eq!(empty, ["a", "c", "d"]);
}

#[test]
fn half_of_a_surrogate_pair_is_another_value() {
    let mut tree = JsonTree::default();
    for (row, text) in [r#"["\ud800"]"#, r#"["\\ud800"]"#, r#"["\ud801"]"#].iter().enumerate() {
        tree.add(text, row as u64 + 1, &mut |_| ()).unwrap();
    }
    assert_eq!(tree.root.item.as_ref().unwrap().few.sorted().len(), 3);
    let mut tree = JsonTree::default();
    tree.add(r#"{"\ud800":1,"\\ud800":2}"#, 1, &mut |_| ()).unwrap();
    assert_eq!(tree.root.members.len(), 2);
}

#[test]
fn escaped_keys_make_a_turn() {
    let mut roles = Vec::new();
    let text = r#"[{"\u0072ole":"user","c\u006fntent":"x"}]"#;
    JsonTree::default()
        .add(text, 1, &mut |turn: SeenTurn<'_>| roles.push(turn.role.to_owned()))
        .unwrap();
    assert_eq!(roles, ["user"]);
}
