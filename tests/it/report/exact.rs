//! Figures and filters are exact, or they say that they are not.

use super::*;

fn report_of(rows: impl Iterator<Item = Value>, arguments: &[&str]) -> String {
    let world = world(Vec::new());
    let lines: String = rows.map(|row| format!("{row}\n")).collect();
    fs::write(world.path("rows.jsonl"), lines).unwrap();
    page(&world, &[&["rows.jsonl"], arguments].concat())
}

#[test]
fn filter_finds_every_label_of_a_row() {
    let labels: Vec<String> =
        (0..30).map(|it| format!("t{it:02}")).chain(["t03".to_owned()]).collect();
    let row = |number: u64| json!({"id": rows::id(number), "input": number, "tags": labels});
    let page = report_of((0..20).map(row), &[]);
    for label in ["t03", "t29"] {
        assert!(
            page.contains(&format!("<option value=\"{label}\">{label} (20)</option>")),
            "{label}"
        );
        assert_eq!(page.matches(&format!(">{label}</span>")).count(), 20, "{label}");
    }
}

#[test]
fn ids_are_compared_by_their_text() {
    let id = rows::id(0xABC).to_string();
    let (upper, short) = (id.to_uppercase(), id.replace('-', ""));
    let ids = ["a", "a", "", "", id.as_str(), &upper, &short];
    let row = |(number, id): (usize, &&str)| json!({"id": id, "input": number});
    let page = report_of(ids.iter().enumerate().map(row), &[]);
    assert_has(
        section(&page, "odd"),
        &[
            "2 rows (28.6 % of all rows) repeat the id of an earlier row: 2 ids occur more than once, such as a, (empty).",
        ],
    );
    assert_has(section(&page, "data"), &["id string 0 5"]);
    let mut anchors: Vec<&str> = page.split(" id=\"").skip(1).collect();
    anchors.iter_mut().for_each(|it| *it = it.split('"').next().unwrap());
    let all = anchors.len();
    anchors.sort_unstable();
    anchors.dedup();
    assert_eq!(anchors.len(), all);
}

#[test]
fn estimated_roles_have_a_mark() {
    let row = |number: u64| {
        let role =
            if number.is_multiple_of(3) { format!("role {number}") } else { "user".to_owned() };
        json!({"id": rows::id(number), "input": [{"role": role, "content": "x"}]})
    };
    let page = report_of((0..6000).map(row), &[]);
    let data = section(&page, "data");
    let roles =
        data.split("Share of 6,000 turns").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(roles.contains("user</th><td class=\"number\">≈ 4,"), "{roles}");
    assert_has(data, &["There are more roles, and too many to count all of them."]);
}

#[test]
fn many_rows_share_the_room_of_a_page() {
    let row = |number: u64| json!({"id": rows::id(number), "input": "x".repeat(30_000)});
    let page = report_of((0..50).map(row), &["--rows", "10000"]);
    assert!(page.len() < 500_000, "{}", page.len());
    assert!(text(&page).contains("bytes are not shown."));
    let page = report_of((0..50).map(row), &[]);
    assert!(page.len() > 1_500_000 && !text(&page).contains("bytes are not shown."));
}
