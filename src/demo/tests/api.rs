//! Tests that the server behaves as the API does.

use std::collections::HashSet;

use serde_json::json;
use uuid::Uuid;

use super::*;

fn filtered() -> Background {
    let dataset = Dataset::generated(3, 7)
        .with_id(ID)
        .with_name("Support Chat")
        .with_agent(Uuid::from_u128(5))
        .with_generator_model("writer-1")
        .with_source("synthetic")
        .with_version(3);
    serve(Options::default(), vec![dataset])
}

#[test]
fn linked_pages_have_every_row_once() {
    let server = serve_rows(60, Options::default());
    let mut client = Client::connect(&server);
    let mut target = datapoints("");
    let mut seen = Vec::new();
    let mut ids = HashSet::new();
    loop {
        let reply = client.get(&target);
        let page = reply.json();
        assert_eq!(page["count"], 60);
        ids.extend(page["results"].as_array().unwrap().iter().map(|row| row["id"].to_string()));
        seen.extend(orders(&reply));
        let Some(next) = page["next"].as_str() else { break };
        target = next.strip_prefix(&server.url()).unwrap().to_owned();
    }
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    assert_eq!(ids.len(), 60);
    assert_eq!(server.stats().connections, 1, "the connection is kept alive");
}

#[test]
fn links_are_absolute_and_keep_the_query() {
    // A link to page 1 has no `page` parameter.
    let server = serve_rows(30, Options::default());
    let page = |query| get(&server, &datapoints(query)).json();
    let url = |query| json!(format!("{}{}", server.url(), datapoints(query)));

    let first = page("?page_size=10&unknown=a%20b&ordering=order");
    assert_eq!(first["next"], url("?ordering=order&page=2&page_size=10&unknown=a+b"));
    assert_eq!(first["previous"], json!(null));
    let second = page("?page=2&page_size=10");
    assert_eq!(second["next"], url("?page=3&page_size=10"));
    assert_eq!(second["previous"], url("?page_size=10"));
    assert_eq!(page("?page=2")["previous"], url(""));
    assert_eq!(page("?page=last")["next"], json!(null));
}

#[test]
fn links_use_the_requested_host() {
    let server = serve_rows(30, Options::default());
    let mut client = Client::connect(&server);
    let headers = [("X-Api-Key", "k"), ("Host", "proxy.example:8443")];
    client.send_with("GET", &datapoints(""), &headers);
    let next = client.reply().unwrap().json()["next"].clone();
    assert_eq!(next, format!("http://proxy.example:8443{}", datapoints("?page=2")));
}

#[test]
fn page_size_is_capped_and_falls_back_to_the_default() {
    let server = serve_rows(300, Options::default());
    let mut client = Client::connect(&server);
    let cases =
        [("7", 7), ("100", 100), ("101", 100), ("0", 25), ("-3", 25), ("ten", 25), ("", 25)];
    for (asked, got) in cases {
        let reply = client.get(&datapoints(&format!("?page_size={asked}")));
        assert_eq!(orders(&reply).len(), got, "page_size={asked}");
    }
}

#[test]
fn page_size_can_be_ignored() {
    let options = Options { ignore_page_size: true, page_size: 20, ..Options::default() };
    let server = serve_rows(300, options);
    assert_eq!(orders(&get(&server, &datapoints("?page_size=50"))).len(), 20);
}

#[test]
fn page_last_exists_and_pages_past_it_are_404() {
    let server = serve_rows(60, Options::default());
    let mut client = Client::connect(&server);
    assert_eq!(orders(&client.get(&datapoints("?page=last"))), (50..60).collect::<Vec<_>>());
    assert_eq!(orders(&client.get(&datapoints("?page="))).first(), Some(&0));
    for page in ["0", "4", "-1", "two", "1.5", "99999999999999999999"] {
        let reply = client.get(&datapoints(&format!("?page={page}")));
        assert_eq!(reply.status, 404, "page={page}");
        assert_eq!(reply.text(), r#"{"detail":"Invalid page."}"#);
    }
}

#[test]
fn empty_dataset_has_an_empty_page_1() {
    let server = serve_rows(0, Options::default());
    let empty = r#"{"count":0,"next":null,"previous":null,"results":[]}"#;
    assert_eq!(get(&server, &datapoints("")).text(), empty);
    assert_eq!(get(&server, &datapoints("?page=last")).text(), empty);
    assert_eq!(get(&server, &datapoints("?page=2")).status, 404);
}

#[test]
fn a_million_rows_are_generated_on_request() {
    let server = serve_rows(1_000_000, Options::default());
    let reply = get(&server, &datapoints("?page=last&page_size=2"));
    assert_eq!(orders(&reply), [999_998, 999_999]);
}

#[test]
fn missing_slash_redirects_without_a_key() {
    let server = serve_rows(1, Options::default());
    for path in [format!("/api/datasets/{ID}/datapoints"), "/api/datasets".to_owned()] {
        let mut client = Client::connect(&server);
        client.send_with("GET", &format!("{path}?page=2&search=a%20b"), &[]);
        let reply = client.reply().unwrap();
        assert_eq!(reply.status, 301);
        assert_eq!(reply.header("location"), Some(format!("{path}/?page=2&search=a%20b").as_str()));
    }
}

#[test]
fn matching_filter_changes_nothing() {
    let server = filtered();
    let queries = [
        "?agent=00000000-0000-0000-0000-000000000005",
        "?generator_model=writer-1",
        "?source=synthetic",
        "?search=SUPPORT",
        "?version=3",
        "?version_min=3",
        "?version_max=3",
        "?version_min=1&version_max=5&source=synthetic",
        "?source=&agent=",
        "?unknown=1",
    ];
    for query in queries {
        let reply = get(&server, &datapoints(query));
        assert_eq!((reply.status, orders(&reply).len()), (200, 3), "{query}");
    }
}

#[test]
fn excluding_filter_answers_like_an_unknown_id() {
    let server = filtered();
    let mut targets: Vec<String> = [
        "?agent=00000000-0000-0000-0000-000000000006",
        "?generator_model=writer-2",
        "?source=production",
        "?search=billing",
        "?version=2",
        "?version_min=4",
        "?version_max=2",
    ]
    .map(datapoints)
    .into();
    targets.push(format!("/api/datasets/{}/datapoints/", Uuid::from_u128(1)));
    for target in targets {
        let reply = get(&server, &target);
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.text(), r#"{"detail":"No Dataset matches the given query."}"#);
    }
}

#[test]
fn invalid_filter_is_a_400_with_field_name() {
    let server = filtered();
    let source = "Select a valid choice. prod \"x\" is not one of the available choices.";
    let cases = [
        ("?source=prod+%22x%22", json!({"source": [source]})),
        ("?agent=me", json!({"agent": ["Enter a valid UUID."]})),
        ("?version=v2", json!({"version": ["Enter a number."]})),
        (
            "?version_min=a&version_max=b",
            json!({"version_min": ["Enter a number."], "version_max": ["Enter a number."]}),
        ),
    ];
    for (query, body) in cases {
        for target in [datapoints(query), format!("/api/datasets/{query}")] {
            let reply = get(&server, &target);
            assert_eq!((reply.status, reply.json()), (400, body.clone()), "{target}");
        }
    }
}

#[test]
fn id_that_is_not_a_uuid_is_not_found() {
    let reply = get(&filtered(), "/api/datasets/mine/datapoints/");
    assert_eq!((reply.status, reply.text()), (404, r#"{"detail":"Not found."}"#));
}

#[test]
fn unknown_path_answers_with_an_html_page() {
    let server = filtered();
    let mut targets = ["/", "/api/", "/v2/api/datasets/", "/api/datasetsx/"].map(String::from);
    targets[0] = format!("/api/datasets/{ID}/");
    for target in targets {
        let reply = get(&server, &target);
        assert_eq!(reply.status, 404, "{target}");
        assert!(reply.header("content-type").unwrap().starts_with("text/html"));
    }
}

#[test]
fn any_key_is_accepted_unless_one_is_set() {
    let any = serve_rows(1, Options::default());
    let options = Options { api_key: Some("ovr_right".to_owned()), ..Options::default() };
    let one = serve_rows(1, options);
    let ask = |server: &Background, headers: &[(&str, &str)]| {
        let mut client = Client::connect(server);
        client.send_with("GET", &datapoints(""), headers);
        let reply = client.reply().unwrap();
        (reply.status, reply.json())
    };

    for server in [&any, &one] {
        for headers in [&[][..], &[("X-Api-Key", "")], &[("Authorization", "Basic abc")]] {
            let (status, body) = ask(server, headers);
            assert_eq!(status, 401);
            let detail = "Authentication credentials were not provided.";
            assert_eq!(body, json!({ "detail": detail }));
        }
        assert_eq!(ask(server, &[("X-Api-Key", "ovr_right")]).0, 200);
        assert_eq!(ask(server, &[("Authorization", "Bearer ovr_right")]).0, 200);
    }
    for headers in [("X-Api-Key", "ovr_wrong"), ("Authorization", "bearer ovr_wrong")] {
        assert_eq!(ask(&any, &[headers]).0, 200);
        let refused = json!({"detail": "Invalid API key.", "code": "invalid_api_key"});
        assert_eq!(ask(&one, &[headers]), (401, refused));
    }
}

#[test]
fn only_get_is_allowed() {
    let server = serve_rows(1, Options::default());
    for method in ["POST", "DELETE", "PUT"] {
        let mut client = Client::connect(&server);
        client.send_with(method, &datapoints(""), &[("X-Api-Key", "k"), ("Content-Length", "0")]);
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")));
        let detail = format!("Method \"{method}\" not allowed.");
        assert_eq!(reply.json(), json!({ "detail": detail }));
    }
}

#[test]
fn generated_rows_can_be_in_descending_order() {
    let server = serve_rows(10, Options::default());
    let page = |query| orders(&get(&server, &datapoints(query)));
    assert_eq!(page("?ordering=-order&page_size=3"), [9, 8, 7]);
    assert_eq!(page("?ordering=-order&page_size=3&page=2"), [6, 5, 4]);
    assert_eq!(page("?ordering=order&page_size=3"), [0, 1, 2]);
    assert_eq!(page("?ordering=colour&page_size=3"), [0, 1, 2]);
    assert_eq!(page("?ordering=-colour,-order&page_size=3"), [9, 8, 7]);
}

#[test]
fn given_rows_keep_their_order_and_can_be_sorted() {
    let rows = [r#"{"id":"b","order":5}"#, r#"{"id":"c","order":1}"#, r#"{"id":"a"}"#];
    let dataset = Dataset::from_rows("given", rows.map(String::from).into()).with_id(ID);
    let server = serve(Options::default(), vec![dataset]);
    let ids = |query| {
        let page = get(&server, &datapoints(query)).json();
        let rows = page["results"].as_array().unwrap().clone();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(ids(""), "bca");
    assert_eq!(ids("?ordering=order"), "cba");
    assert_eq!(ids("?ordering=-order"), "abc");
    assert_eq!(ids("?ordering=id"), "abc");
    assert_eq!(ids("?ordering=-id"), "cba");
}

#[test]
fn ordering_of_rows_can_be_ignored() {
    let server = serve_rows(10, Options { ignore_ordering: true, ..Options::default() });
    assert_eq!(orders(&get(&server, &datapoints("?ordering=-order")))[..2], [0, 1]);
}

#[test]
fn given_rows_are_served_token_for_token() {
    let hostile = r#"{"id": "x",  "input":1e400,"input":{"b":1,"a":"\ud800\u00e9"},"n":1.10}"#;
    let dataset = Dataset::from_rows("hostile", vec![hostile.into(), "not json".into()]);
    let server = serve(Options::default(), vec![dataset.with_id(ID)]);
    let expected =
        format!(r#"{{"count":2,"next":null,"previous":null,"results":[{hostile},not json]}}"#);
    assert_eq!(get(&server, &datapoints("")).text(), expected);
}

#[test]
fn list_entries_have_the_documented_fields() {
    let dataset = Dataset::generated(1_000, 7)
        .with_id(ID)
        .with_name("Überblick \"1\"")
        .with_created_at("2026-03-01T00:00:00Z")
        .with_metadata(r#"{"run": 1e2}"#)
        .with_policy_hash("abc")
        .with_version(2);
    let agent = dataset.agent.unwrap();
    let server = serve(Options::default(), vec![dataset]);
    let entry = format!(
        concat!(
            r#"{{"id":"{}","agent":"{}","created_at":"2026-03-01T00:00:00Z","#,
            r#""generator_model":"demo-writer-1","metadata":{{"run": 1e2}},"#,
            r#""name":"Überblick \"1\"","num_datapoints":1000,"policy_hash":"abc","#,
            r#""source":"synthetic","version":2}}"#
        ),
        ID, agent
    );
    let page = format!(r#"{{"count":1,"next":null,"previous":null,"results":[{entry}]}}"#);
    assert_eq!(get(&server, "/api/datasets/").text(), page);
}

#[test]
fn list_has_pages_filters_and_ordering() {
    let dataset =
        |version| Dataset::generated(1, version as u64).with_name("chat").with_version(version);
    let server = serve(Options::default(), (1..=30).map(dataset).collect());
    let versions = |query: &str| {
        let page = get(&server, &format!("/api/datasets/{query}")).json();
        let rows = page["results"].as_array().unwrap().clone();
        let versions: Vec<_> = rows.iter().map(|row| row["version"].as_i64().unwrap()).collect();
        (page["count"].as_u64().unwrap(), versions)
    };
    assert_eq!(versions("?page=2"), (30, (26..=30).collect()));
    assert_eq!(versions("?version_min=3&version_max=4"), (2, vec![3, 4]));
    assert_eq!(versions("?ordering=-version&page_size=2"), (30, vec![30, 29]));
    assert_eq!(versions("?search=billing"), (0, vec![]));
    assert_eq!(get(&server, "/api/datasets/?page=3").status, 404);
}
