//! The command on a pseudo-terminal: everything fits into its width.

use std::{
    fs::{self, File},
    io::Read,
    process::Command,
    time::Duration,
};

use console::measure_text_width;
use overmind_export::demo::{Dataset, Fault, FaultAttempt::*, Faults, Options};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    snapshots::Nightly,
    support::{ID, World},
};

/// The output of a command on a terminal.
struct Typescript {
    code: Option<i32>,
    bytes: String,
}

impl Typescript {
    /// Runs the command on a terminal with this number of columns.
    fn of(mut command: Command, columns: u16) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other_end = || open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        command.stdin(other_end()).stdout(other_end()).stderr(other_end());
        let mut child = command.spawn().unwrap();
        // The terminal ends when the last process has closed it.
        drop(command);
        let (mut terminal, mut bytes) = (File::from(terminal), Vec::new());
        // On Linux, the end is EIO.
        drop(terminal.read_to_end(&mut bytes));
        let code = child.wait().unwrap().code();
        Self { code, bytes: String::from_utf8(bytes).unwrap() }
    }

    /// The texts between line ends and movements of the cursor, without colours.
    fn pieces(&self) -> Vec<String> {
        let mut pieces = vec![String::new()];
        let mut rest = self.bytes.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' | '\n' => pieces.push(String::new()),
                '\u{1b}' => {
                    let sequence = rest.by_ref().find(|c| c.is_ascii_alphabetic());
                    if sequence != Some('m') {
                        pieces.push(String::new());
                    }
                }
                c => pieces.last_mut().unwrap().push(c),
            }
        }
        pieces.retain(|piece| !piece.trim().is_empty());
        pieces
    }

    /// Returns the lines. Panics if one is too wide, or if the command moved the cursor.
    #[track_caller]
    fn lines(&self, columns: usize) -> String {
        self.assert_fits(columns);
        assert!(!self.bytes.contains('\u{1b}'), "{:?}", self.bytes);
        self.bytes.replace("\r\n", "\n")
    }

    #[track_caller]
    fn assert_fits(&self, columns: usize) {
        for piece in self.pieces() {
            assert!(measure_text_width(&piece) <= columns, "{piece:?} in {:?}", self.bytes);
        }
    }
}

fn on(world: &World, line: &str, columns: u16) -> Typescript {
    let mut command = world.command();
    command.args(line.replace("ID", &ID.to_string()).split(' '));
    Typescript::of(command, columns)
}

/// An export of 1,000 rows whose tenth page takes this long, so that the progress is shown.
fn slow(delay: Duration, term: &str, columns: u16, arguments: &str) -> (World, Typescript) {
    let faults = Faults::none().on(10, First(1), Fault::Delay(delay));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    let mut command = world.command();
    command.args(["export", &ID.to_string()]).args(arguments.split(' ')).env("TERM", term);
    let ran = Typescript::of(command, columns);
    assert_eq!(ran.code, Some(0), "{}", ran.bytes);
    (world, ran)
}

#[test]
fn bar_is_shown_at_80_columns() {
    for columns in [80, 120] {
        let (_world, ran) =
            slow(Duration::from_millis(400), "xterm", columns, "-o rows.jsonl --concurrency 2");
        let bars: Vec<_> =
            ran.pieces().into_iter().filter(|it| it.contains("/1,000 rows")).collect();
        assert!(bars.iter().any(|bar| bar.contains("900/1,000 rows")), "{bars:?}");
        for bar in &bars {
            assert!(bar.starts_with(['█', '░']) && bar.contains("rows/s"), "{bar:?}");
            assert!(measure_text_width(bar.trim_end()) <= columns.into(), "{bar:?}");
        }
        // The summary stays; the bar is gone.
        ran.assert_fits(columns.into());
        assert!(ran.pieces().last().unwrap().trim() == "rows.jsonl", "{:?}", ran.bytes);
    }
}

#[test]
fn narrow_terminal_keeps_rows_and_total() {
    let (_world, ran) = slow(Duration::from_millis(400), "xterm", 20, "-o x.jsonl --concurrency 2");
    assert!(ran.pieces().iter().any(|it| it.trim_end() == "900/1,000 rows"), "{:?}", ran.bytes);
}

#[test]
fn dumb_terminal_gets_lines() {
    // The first line comes after 5 seconds.
    let (_world, ran) =
        slow(Duration::from_millis(5200), "dumb", 80, "-o rows.jsonl --concurrency 2");
    let text = ran.lines(80);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("900 of 1,000 rows (90 %) · "), "{text}");
    assert!(text.contains("\n1,000 rows in 1 file ("), "{text}");
}

#[test]
fn tables_fit_80_columns() {
    let named = |id: u128, name: &str| {
        let id = uuid::Uuid::from_u128(0xa000_0000_0000_4000_8000_0000_0000_0000 + id);
        Dataset::generated(123_456, 3).with_id(id).with_name(name)
    };
    let world = World::generated(Options::default(), 1000);
    world.server.replace(vec![
        Dataset::generated(1000, 7).with_id(ID),
        named(1, "customer-support-triage-evaluation-v2"),
        named(2, "Short"),
    ]);
    let datasets = on(&world, "datasets", 80).lines(80);
    insta::assert_snapshot!(datasets, @"
     ID                                    NAME                     VERSION     ROWS
     182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e  support-chat-1000              1    1,000
     a0000000-0000-4000-8000-000000000001  customer-support-triag…        1  123,456
     a0000000-0000-4000-8000-000000000002  Short                          1  123,456
    not shown in 80 columns: source, created
    ");
    insta::assert_snapshot!(on(&world, "preview ID -n 3", 80).lines(80), @r#"
     ID        ORDER  INPUT                 EXPECTED_OUTPUT      PERSONA
     64bf61b5      0  {"messages":[{        {"answer":"Je        -
                      "role":"system",      paiement de que ma
                      "content":"You are …  facture …
     7716da39      1  {"messages":[{        "カードをとからを…   -
                      "role":"system",
                      "content":"Classify…
     1b9730bf      2  {"messages":[{        {"answer":"Ich       frustrated_customer
                      "role":"user",        meine ist
                      "content":"Von …      Datenschutzerkläru…
    not shown in 80 columns: tags
    3 of 1,000 rows
    "#);
    insta::assert_snapshot!(on(&world, "preview ID -n 2 --columns id,tags,persona", 60).lines(60), @r#"
     ID        TAGS                             PERSONA
     64bf61b5  -                                -
     7716da39  ["billing","refusal","billing"]  -
    2 of 1,000 rows
    "#);
    world.export(&["-o", "rows.jsonl"]).ok();
    world.export(&["-o", "half.jsonl", "--limit", "500"]).ok();
    insta::assert_snapshot!(on(&world, "verify rows.jsonl half.jsonl", 60).lines(60), @"
    rows.jsonl: it can be read to its end, but has no record to
      compare it with: rows.jsonl.manifest.json does not exist;
      export with --manifest to write one
    half.jsonl: it can be read to its end, but has no record to
      compare it with: half.jsonl.manifest.json does not exist;
      export with --manifest to write one
    error: 2 of 2 paths could not be checked
      hint: each line above gives the reason and the next step
    ");
    let diff = on(&world, "diff rows.jsonl half.jsonl --show 1", 60).lines(60);
    insta::assert_snapshot!(diff, @r#"
    rows.jsonl → half.jsonl, by id
    0 added · 500 removed · 0 changed · 500 unchanged

    removed 178c51cd-7dff-43f6-92df-cb0bcff5e503
      order: 500
      input: {"messages":[{"role":"user","content":"Colis de co…
      expected_output: {"answer":"Réclamation la je ma même ma …
      tags: {"topic":"multi-turn","difficulty":2}
    "#);
}

#[test]
fn tables_of_snapshots_fit_80_columns() {
    let text = format!(
        "[[job]]\nname = \"customer-support\"\ndataset = \"{ID}\"\nschedule = \"30 2 * * *\"\n\
         timezone = \"Europe/Copenhagen\"\nkeep = {{ last = 1, monthly = 2 }}\n"
    );
    let nightly = Nightly::new(vec![Dataset::generated(12_345, 7).with_id(ID)], &text);
    nightly.at("2026-11-23T02:00:00Z");
    nightly.at("2026-11-24T02:00:00Z");
    let on = |line: &str, columns: u16| {
        let mut command = nightly.world.command();
        command.args(line.split(' ')).args(["--config", "snapshots.toml"]);
        Typescript::of(command, columns)
    };
    insta::assert_snapshot!(on("snapshots", 80).lines(80), @"
     JOB               SNAPSHOT          DATASET     ROWS  COMPLETE
     customer-support  20261123T020000Z  182bd5e5  12,345  yes
    not shown in 80 columns: bytes, unchanged as of
    ");
    insta::assert_snapshot!(on("snapshots", 60).lines(60), @"
     JOB               SNAPSHOT            ROWS  COMPLETE
     customer-support  20261123T020000Z  12,345  yes
    not shown in 60 columns: dataset, bytes, unchanged as of
    ");
    insta::assert_snapshot!(on("prune --dry-run", 80).lines(80), @"
    JOB               SNAPSHOT                   ACTION  WHY
    customer-support  snapshot=20261123T020000Z  stays   last 1; monthly 1
    ");
    nightly.set_durations("customer-support");
    insta::assert_snapshot!(on("history", 80).lines(80), @"
     JOB               STARTED           RESULT       ROWS   TIME  DETAILS
     customer-support  2026-11-23 02:00  stored     12,345  1.5 s  snapshot
                                                                   20261123T020000Z
     customer-support  2026-11-24 02:00  unchanged       -  1.5 s  same metadata
    not shown in 80 columns: bytes
    ");
    let told = on("check --connect", 60).lines(60);
    assert!(told.contains("\n  (\"support-chat-12345\"), 12,345 rows\n  /"), "{told}");
    let table = on("schedule --list 1", 88).lines(88);
    let words = |line: &str| line.split_whitespace().count();
    assert_eq!(table.lines().map(words).collect::<Vec<_>>(), [6, 8], "{table}");
    let table = on("schedule --list 1", 80).lines(80);
    assert!(table.ends_with("not shown in 80 columns: utc\n"), "{table}");
    drop(fs::remove_dir_all(nightly.world.path("snaps")));
}
