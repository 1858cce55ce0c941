//! Malformed pages and rows, and pages that contradict each other.

use overmind_export::demo::{Fault, FaultAttempt::Always, FaultPage, Faults, Options};

use super::{session, told_on};
use crate::support::{ID, World};

#[test]
fn html_instead_of_json_points_to_base_url() {
    insta::assert_snapshot!(told_on(1, Fault::Html, &["export ID -o rows.jsonl --max-retries 0"]), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0
    exit 65
    TIME  WARN attempt failed url=http://API/api/datasets/ID/datapoints/?page=1&page_size=100 attempts=1 cause=expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <title>Sign in</title> <"
    error: the answer for page 1 is not valid
      cause: expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <title>Sign in</title> <"
      hint: check the base URL; a proxy or a sign-in page may have answered instead of the API
    "#);
    insta::assert_snapshot!(told_on(FaultPage::List, Fault::Html, &["datasets --max-retries 0 -q"]), @r#"
    $ overmind-export datasets --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: expected JSON, got text/html; charset=utf-8 that begins "<!doctype html> <title>Sign in</title> <"
      hint: check the base URL; a proxy or a sign-in page may have answered instead of the API
    "#);
}

#[test]
fn malformed_page_error_describes_the_body() {
    let told = |page: u64, body: &str| {
        let fault = Fault::status(200).body(body);
        told_on(page, fault, &["export ID -o rows.jsonl --max-retries 0 -q"])
    };
    insta::assert_snapshot!(told(1, r#"{"detail":"hello"}"#), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: it is JSON, but not a page: missing field `count`
      hint: check the base URL
    ");
    insta::assert_snapshot!(told(1, r#"{"count":-1,"next":null,"results":[]}"#), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: it is JSON, but not a page: field "count": invalid value: integer `-1`, expected u64
      hint: check the base URL
    "#);
    insta::assert_snapshot!(told(2, r#"{"count":1000,"next":null,"results":{}}"#), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: it is JSON, but not a page: field "results": invalid type: map, expected a sequence
      hint: check the base URL
    "#);
    insta::assert_snapshot!(told(1, "[]"), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: it is JSON, but not a page: not an object
      hint: check the base URL
    ");
    insta::assert_snapshot!(told(1, r#"{"count":1000,"next":null,"results":[{"id":"#), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: the 43 bytes received are not JSON
      cause: EOF while parsing a value at line 1 column 43
      hint: the answer was cut short or damaged: run again, and report it to the operator of the API if it happens again
    ");
    insta::assert_snapshot!(told(1, ""), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: the 0 bytes received are not JSON
      cause: EOF while parsing a value at line 1 column 0
      hint: the answer was cut short or damaged: run again, and report it to the operator of the API if it happens again
    ");
}

#[test]
fn truncated_json_is_reported_with_its_length() {
    let line = "export ID -o rows.jsonl --max-retries 0 -q";
    insta::assert_snapshot!(told_on(2, Fault::TruncatedJson, &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: the 49,398 bytes received are not JSON
      cause: they end in the middle of a character
      hint: the answer was cut short or damaged: run again, and report it to the operator of the API if it happens again
    ");
}

#[test]
fn wrong_type_error_names_page_row_and_field() {
    let told = |fault| told_on(2, fault, &["export ID -o rows.jsonl --max-retries 0 -q"]);
    insta::assert_snapshot!(told(Fault::field(7, "order", "\"7\"")), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 7, field "order": invalid type: string "7", expected i64
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    insta::assert_snapshot!(told(Fault::field(0, "id", "12")), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 0, field "id": invalid type: integer `12`, expected a formatted UUID string
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    insta::assert_snapshot!(told(Fault::field(0, "id", "\"twelve\"")), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 0, field "id": UUID parsing failed: invalid character: found `t` at 0
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    insta::assert_snapshot!(told(Fault::missing_field(99, "id")), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 99, field "id": missing field `id`
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    insta::assert_snapshot!(told(Fault::field(3, "persona", "[]")), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 3, field "persona": invalid type: sequence, expected a string
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
    insta::assert_snapshot!(told(Fault::field(3, "persona", r#""\ud800""#)), @r#"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 2 is not valid
      cause: row 3, field "persona": a lone surrogate escape is not a character
      hint: the API sent a row that is not a datapoint: report this to its operator; the rows of a page are numbered from 0
    "#);
}

#[test]
fn oversized_page_error_suggests_smaller_pages() {
    let line = "export ID -o rows.jsonl --max-page-bytes 1kB -q";
    insta::assert_snapshot!(told_on(99, Fault::Html, &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-page-bytes 1kB -q
    exit 65
    error: the answer for page 1 is not valid
      cause: the body is larger than 1,000 bytes
      hint: request fewer rows per page with --page-size, or raise --max-page-bytes
    ");
    insta::assert_snapshot!(told_on(1, Fault::EndlessBody, &["export ID -o rows.jsonl --max-page-bytes 1MiB -q"]), @"
    $ overmind-export export ID -o rows.jsonl --max-page-bytes 1MiB -q
    exit 65
    error: the answer for page 1 is not valid
      cause: the body is larger than 1,048,576 bytes
      hint: request fewer rows per page with --page-size, or raise --max-page-bytes
    ");
}

#[test]
fn dataset_change_is_reported_after_each_pass() {
    insta::assert_snapshot!(told_on(2, Fault::Count(1003), &["export ID -o rows.jsonl --max-passes 2"]), @"
    $ overmind-export export ID -o rows.jsonl --max-passes 2
    exit 65
    the dataset changed during the export: count changed from 1,000 to 1,003 (page 2); starting again from page 1
    error: the dataset changed during the export: count changed from 1,000 to 1,003 (page 2)
      hint: nothing was published; export again when the dataset no longer changes, or give --ordering id if the API's default order is not stable
    ");
    let line = "export ID -o rows.jsonl --max-passes 1";
    insta::assert_snapshot!(told_on(3, Fault::RepeatPage(1), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-passes 1
    exit 65
    error: the dataset changed during the export: 100 ids came twice (02a188ff-37d9-4b96-b9d1-af224b9a4c13, 02d1eb7c-52b9-4ca7-8ef4-d187c22abe8b, 03ad9dd2-2d17-49c6-b622-d98219d2da4a, 0535dec7-619f-4dae-a818-1c06e79a1c98, 143c3a62-5181-4907-a8d6-2aa68ca19028, …); 1,000 rows promised, 900 distinct ids came
      hint: nothing was published; export again when the dataset no longer changes, or give --ordering id if the API's default order is not stable
    ");
    insta::assert_snapshot!(told_on(2, Fault::ShortPage(3), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-passes 1
    exit 65
    error: the dataset changed during the export: page 2 is short: 97 rows where the others have 100
      hint: nothing was published; export again when the dataset no longer changes, or give --ordering id if the API's default order is not stable
    ");
    insta::assert_snapshot!(told_on(2, Fault::invalid_page(), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-passes 1
    exit 65
    error: the dataset changed during the export: page 2 is gone (404), where count was 1,000
      hint: nothing was published; export again when the dataset no longer changes, or give --ordering id if the API's default order is not stable
    ");
    insta::assert_snapshot!(told_on(10, Fault::Next("http://elsewhere.test/".to_owned()), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-passes 1
    exit 65
    error: the dataset changed during the export: page 10 says there is a next page but the last is page 10
      hint: nothing was published; export again when the dataset no longer changes, or give --ordering id if the API's default order is not stable
    ");
}

#[test]
fn wrong_page_is_detected_by_its_links() {
    let line = "export ID -o rows.jsonl --max-retries 0 -q";
    insta::assert_snapshot!(told_on(3, Fault::SwapPage(2), &[line]), @"
    $ overmind-export export ID -o rows.jsonl --max-retries 0 -q
    exit 65
    error: the answer for page 3 is not valid
      cause: it is another page: its `next` is page 3 and should be page 4
      hint: the API, or a cache in front of it, ignores the parameter `page` or mixes up answers: report this to its operator
    ");
    insta::assert_snapshot!(told_on(1, Fault::SwapPage(2), &["preview ID --max-retries 0 -q"]), @"
    $ overmind-export preview ID --max-retries 0 -q
    exit 65
    error: the answer for page 1 is not valid
      cause: it is another page: its `next` is page 3 and should be page 2
      hint: the API, or a cache in front of it, ignores the parameter `page` or mixes up answers: report this to its operator
    ");
}

#[test]
fn ignored_page_parameter_is_detected_on_page_2() {
    // The server paginates with cursors, so its links contain no page number.
    let cursor = Fault::Next("http://api.example.test/?cursor=cD0yMDI2".to_owned());
    let faults = Faults::none().on(FaultPage::Any, Always, Fault::RepeatPage(1));
    let faults = faults.on(FaultPage::Any, Always, cursor);
    let world = World::generated(Options { faults, ..Options::default() }, 10_000);
    let told = session(&world, &["export ID -o rows.jsonl --concurrency 4"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl --concurrency 4
    exit 65
    error: the answer for page 2 is not valid
      cause: it has the same rows as page 1
      hint: the API, or a cache in front of it, ignores the parameter `page` or mixes up answers: report this to its operator
    ");
    // The run stops at page 2. After those in flight it sends no further requests and no retries.
    let requests = world.server.stats().requests;
    assert!((2..=16).contains(&requests), "{requests}");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn repeated_page_is_found_in_any_order() {
    let row = |number: u64| format!(r#"{{"id":"{}"}}"#, crate::rows::id(number));
    let page = |first, second| {
        let next = "http://api.example.test/?cursor=cD0yMDI2";
        let rows = [row(first), row(second)].join(",");
        Fault::status(200).body(&format!(r#"{{"count":6,"next":"{next}","results":[{rows}]}}"#))
    };
    let told = |faults: Faults| {
        let world = World::generated(Options { faults, ..Options::default() }, 6);
        session(
            &world,
            &["export ID -o rows.jsonl --page-size 2 --max-passes 1 --max-retries 0 -q"],
        )
    };
    let faults = Faults::none().on(1, Always, page(1, 2)).on(2, Always, page(2, 1));
    let second = told(faults);
    assert!(second.contains("cause: it has the same rows as page 1\n"), "{second}");
    // A server that does not know later pages, or a cache that mixes up two answers once.
    let faults = Faults::none().on(1, Always, page(1, 2)).on(2, Always, page(3, 4));
    let third = told(faults.on(3, Always, page(4, 3)));
    assert!(third.contains(": page 3 has the same rows as page 2;"), "{third}");
}

#[test]
fn ignored_ordering_ends_the_run_at_once() {
    let options = Options { ignore_ordering: true, ..Options::default() };
    let rows = [2, 1].map(|order| format!(r#"{{"id":"{ID}","order":{order}}}"#));
    let world = World::with_rows(options, rows.to_vec());
    let told = session(&world, &["export ID -o rows.jsonl --ordering order"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.jsonl --ordering order
    exit 65
    error: the API does not apply the ordering: page 1, results[1] is out of order: 1 after 2 with ordering=order
      hint: the API ignores an ordering that it does not support: leave out --ordering, or give a supported one
    ");
}
