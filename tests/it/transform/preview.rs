//! `preview` with the options that choose rows and columns.

use super::{lines_where, world};
use crate::support::{ID, Ran, World};

fn preview(world: &World, arguments: &[&str]) -> Ran {
    Ran::of(world.command().args(["preview", &ID.to_string()]).args(arguments))
}

#[test]
fn first_kept_rows_are_shown() {
    let world = world(1000);
    let billing = r#".tags.topic == "billing""#;
    let columns = ["--column", "n:int=.order * 2", "--columns", "order,n"];
    let ran = preview(&world, &[&["--where", billing, "-n", "3"], &columns[..]].concat()).ok();
    insta::assert_snapshot!(ran.stdout, @"
     ORDER   N
         0   0
         3   6
         6  12
    the first 3 rows of those that are kept; the dataset has 1,000
    ");
    let last = ["--where", ".order > 997", "--columns", "order", "--json"];
    insta::assert_snapshot!(preview(&world, &last).ok().stdout, @r#"
    {"order":998}
    {"order":999}
    "#);
    let ran = preview(&world, &["--where", ".order > 998", "--columns", "order"]).ok();
    insta::assert_snapshot!(ran.stdout, @"
     ORDER
       999
    1 kept of 1,000 rows
    ");
}

#[test]
fn lines_are_those_of_an_export() {
    let world = world(1000);
    let expected = lines_where(&world, |index| index.is_multiple_of(3));
    let first: String = expected.lines().take(120).map(|line| format!("{line}\n")).collect();
    let billing = r#".tags.topic == "billing""#;
    let ran = preview(&world, &["--where", billing, "-n", "120", "--json"]).ok();
    assert!(ran.stdout == first);
    let sample = world.export(&["-o", "-", "--sample", "0.2", "--limit", "200"]).ok();
    let first: String = sample.stdout.lines().take(9).map(|line| format!("{line}\n")).collect();
    assert!(preview(&world, &["--sample", "0.2", "-n", "9", "--json"]).ok().stdout == first);
}

#[test]
fn pages_after_the_shown_rows_do_not_matter() {
    let small = world(1000);
    let fails_late = ".order | if . < 100 then true else error(\"late\") end";
    let ran = preview(&small, &["--where", fails_late, "-n", "5", "--columns", "order"]).ok();
    assert!(
        ran.stdout
            .ends_with("     4\nthe first 5 rows of those that are kept; the dataset has 1,000\n")
    );
    let ran = preview(&small, &["--where", fails_late, "-n", "101"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), ""));
    assert!(ran.stderr.contains("page 2, row 1 (id "), "{}", ran.stderr);
    // Not every page is requested.
    let world = world(20_000);
    preview(&world, &["--where", ".order >= 0", "-n", "2"]).ok();
    let requests: u32 = world.server.stats().attempts.values().sum();
    assert!(requests < 20, "{requests} requests of 200");
    // A transformation that keeps every row reads no more than the shown ones.
    // The server can still count prefetched pages of the ended preview, so this one has its own.
    let other = self::world(20_000);
    preview(&other, &["--column", "a=.id", "--mask", ".persona", "-n", "2"]).ok();
    assert_eq!(other.server.stats().attempts.values().sum::<u32>(), 1);
}

#[test]
fn explanation_has_a_reason_for_each_row() {
    let world = world(100);
    let where_ =
        ["--where", ".order != 1", "--where", ".order | if . == 2 then error(\"x\") else true end"];
    let more =
        ["--sample", "0.5", "--column", "a:int=if .order > 3 then \"a\" else 1 end", "-n", "6"];
    let arguments = [&["--explain"], &where_[..], &more[..]].concat();
    let ran = preview(&world, &arguments).ok();
    insta::assert_snapshot!(ran.stdout, @r#"
     ROW  ID        KEPT   WHY
       1  00000000  no     it is not in the sample
       2  00000000  no     --where ".order != 1" does not hold
       3  00000000  error  --where ".order | if . == 2 then error(\"x\") else true end" failed: x
       4  00000000  yes
       5  00000000  error  --column "a=if .order > 3 then \"a\" else 1 end" failed: the output "a" is a
                           string, not an integer
       6  00000000  error  --column "a=if .order > 3 then \"a\" else 1 end" failed: the output "a" is a
                           string, not an integer
    1 kept of the first 6 rows
    an export would end at row 3: change the expression, or give --on-error
    "#);
    let ran = preview(&world, &[&arguments[..], &["--json"]].concat()).ok();
    let first: serde_json::Value =
        serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["id"], "00000000-0000-4000-8000-000000000000");
    // The rows that are kept are those of an export.
    let kept = |it: &str| it.contains("\"is_kept\":true");
    let arguments =
        ["--explain", "--json", "-n", "100", "--where", ".tags.passed", "--sample", "0.3"];
    let explained = preview(&world, &arguments).ok().stdout;
    let exported = world.export(&[&["-o", "-"], &arguments[4..]].concat()).ok().stdout;
    assert_eq!(explained.lines().filter(|it| kept(it)).count(), exported.lines().count());
    for (line, row) in explained.lines().filter(|it| kept(it)).zip(exported.lines()) {
        assert_eq!(line[..45], row[..45]);
    }
    let ran = preview(&world, &["--explain"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("--explain explains a transformation: give --where"),
        "{}",
        ran.stderr
    );
}

#[test]
fn endless_expression_ends_an_explanation() {
    let world = world(10);
    let endless = r#"("a" * 20000000) | indices("a" * 10000000 + "b") == []"#;
    let arguments = ["--explain", "--where", endless, "--expression-timeout", "100ms"];
    let ran = preview(&world, &arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("did not end within"), "{}", ran.stderr);
}

#[test]
fn options_are_refused_before_a_request() {
    let world = world(10);
    for (arguments, why) in [
        (&["--where", ".a b"][..], "the expression should end before this"),
        (&["--columns", "id,topic"], "\"topic\" is not a valid column: the columns are id, order"),
        (&["--seed", "1"], "--seed has no effect without --sample or --split\n"),
        (&["--drop", "id", "--columns", "id"], "cannot be used with"),
    ] {
        let ran = preview(&world, arguments);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
}

#[test]
fn exports_are_previewed_like_their_dataset() {
    let world = world(1000);
    let billing = r#".tags.topic == "billing""#;
    let key = world.path("key");
    std::fs::write(&key, "canary00c0ffee0123456789abcdef0123456789abcdef0123456789abcdef01\n")
        .unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let options: [&[&str]; 8] = [
        &[
            "--where",
            billing,
            "-n",
            "3",
            "--column",
            "n:int[]=[.order, null]",
            "--columns",
            "order,n",
        ],
        &["--where", ".order > 997", "--columns", "order"],
        &["--sample", "0.1", "--seed", "3", "-n", "7", "--drop", "input"],
        &["--dedupe", ".tags.topic", "--mask", ".persona, .input.messages[].content"],
        &["--where", "if .order == 1 then error(\"x\") else true end", "--on-error", "skip"],
        &["--pseudonymise", ".persona", "--pseudonym-key-file", "key", "-n", "2"],
        &["--explain", "--where", ".order != 1", "--sample", "0.5", "--dedupe", ".tags.topic"],
        &["--explain", "--column", "a:int=if .order > 3 then \"a\" else 1 end", "-n", "6"],
    ];
    for output in ["rows.parquet", "rows.arrow", "rows.jsonl", "rows.csv.gz", "parts/"] {
        world
            .export(
                &["-o", output, "--rows-per-file", "300"][..if output == "parts/" { 4 } else { 2 }],
            )
            .ok();
        for options in options {
            for more in [&[][..], &["--json"]] {
                let options = [options, more].concat();
                let expected = preview(&world, &options).ok().stdout;
                let name = output.trim_end_matches('/');
                let ran = Ran::of(world.command().args(["preview", name]).args(&options)).ok();
                // Only a file of lines does not say how many rows it has.
                let expected = expected.replace("the dataset has", "the export has");
                let known = ran.stdout == expected;
                let is_lines = output.contains("jsonl") || output.contains("csv");
                let unknown = expected.replace("; the export has 1,000", "");
                let unknown = unknown.replace("2 of 1,000 rows", "the first 2 rows");
                assert!(
                    known || is_lines && ran.stdout == unknown,
                    "{output} {options:?}\n{}",
                    ran.stdout
                );
            }
        }
    }
    for (arguments, code, why) in [
        (&["--where", ".a b"][..], 2, "the expression should end before this"),
        (&["--where", ".order | error(\"late\")"], 65, "row 1 (id 00000000-"),
        (&["--mask", ".persna", "-n", "2000"], 65, "in 1,000 rows: did you mean .persona?"),
        (
            &["--where", "true", "--columns", "ordr"],
            2,
            "did you mean order? the columns are id, order",
        ),
        (&["--explain"], 2, "--explain explains a transformation: give --where"),
        (&["--search", "x"], 2, "filters select a dataset"),
    ] {
        let ran = Ran::of(world.command().args(["preview", "rows.parquet"]).args(arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    let ran =
        Ran::of(world.command().args(["preview", "rows.jsonl", "--map", "{id}", "-n", "1"])).ok();
    assert!(ran.stdout.ends_with("the first 1 line\n"), "{}", ran.stdout);
}
