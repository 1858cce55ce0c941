//! Certificates: which are trusted, and what is said of those that are not.

use overmind_export::demo::{Fault, Options};

use super::{session_with, tell, told_on};
use crate::{
    secured::Tls,
    support::{ID, KEY, Ran, World},
};

const EXPORT: &str = "export ID -o rows.jsonl";

/// TLS in front of an embedded API, with a certificate for one name by an authority of its own.
struct Secured {
    world: World,
    tls: Tls,
}

impl Secured {
    /// The authority's certificate is `authority.pem` in the folder.
    fn for_name(name: &str) -> Self {
        let world = World::generated(Options::default(), 300);
        let tls = Tls::before(world.server.addr(), name, world.folder.path());
        Self { world, tls }
    }

    fn told(&self, line: &str) -> String {
        let port = self.tls.port();
        let told = session_with(&self.world, &[line], |it| {
            it.env("OVERMIND_LAB_BASE_URL", format!("https://localhost:{port}"));
        });
        told.replace(&port.to_string(), "PORT")
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_and_not_tried_again() {
    let secured = Secured::for_name("localhost");
    insta::assert_snapshot!(secured.told(EXPORT), @"
    $ overmind-export export ID -o rows.jsonl
    exit 69
    error: cannot verify the certificate of https://localhost:PORT
      cause: its issuer is not among the authorities that this machine trusts
      hint: check the base URL; if the server uses a private authority, give its certificate with --ca-cert
    ");
    assert_eq!(secured.tls.connections(), 1);
    assert_eq!(secured.world.server.stats().connections, 0);
    assert_eq!(secured.world.entries(), ["authority.pem"]);
}

#[test]
fn a_private_authority_is_trusted_when_it_is_given() {
    let secured = Secured::for_name("localhost");
    insta::assert_snapshot!(secured.told("export ID -o rows.jsonl --ca-cert authority.pem"), @"
    $ overmind-export export ID -o rows.jsonl --ca-cert authority.pem
    exit 0
    300 rows in 1 file (293.60 KiB) · T s · N rows/s · complete: every row once
      rows.jsonl
    ");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let secured = Secured::for_name("api.example.test");
    insta::assert_snapshot!(secured.told("export ID -o rows.jsonl --ca-cert authority.pem"), @"
    $ overmind-export export ID -o rows.jsonl --ca-cert authority.pem
    exit 69
    error: cannot verify the certificate of https://localhost:PORT
      cause: it is for api.example.test, not for localhost
      hint: check the base URL; if the server uses a private authority, give its certificate with --ca-cert
    ");
    assert_eq!(secured.tls.connections(), 1);
}

#[test]
fn no_log_line_of_a_run_over_tls_holds_the_key() {
    let secured = Secured::for_name("localhost");
    for (trust, expected) in [("", "exit 69"), (" --ca-cert authority.pem", "exit 0")] {
        let told = secured.told(&format!("export ID -o rows.jsonl -vvv{trust}"));
        assert!(told.contains(expected) && told.contains("TRACE"), "{told}");
        assert!(!told.contains(KEY), "{expected}");
    }
}

#[test]
fn a_self_signed_authority_is_trusted_as_itself() {
    for (name, line) in [("localhost", "datasets"), ("api.example.test", "datasets -q")] {
        let world = World::generated(Options::default(), 3);
        let tls = Tls::self_signed(world.server.addr(), name, world.folder.path());
        let secured = Secured { world, tls };
        let untrusted = secured.told(line);
        assert!(untrusted.contains("exit 69") && untrusted.contains("CA:TRUE"), "{untrusted}");
        let trusted = secured.told(&format!("{line} --ca-cert authority.pem"));
        if name == "localhost" {
            assert!(trusted.contains("exit 0"), "{trusted}");
            // Another one of the same name is another one.
            let other = World::generated(Options::default(), 3);
            drop(Tls::self_signed(other.server.addr(), name, secured.world.folder.path()));
            let told = secured.told(&format!("{line} --ca-cert authority.pem"));
            assert!(told.contains("exit 69") && told.contains("CA:TRUE"), "{told}");
        } else {
            insta::assert_snapshot!(trusted, @"
            $ overmind-export datasets -q --ca-cert authority.pem
            exit 69
            error: cannot verify the certificate of https://localhost:PORT
              cause: it is for api.example.test, not for localhost
              hint: check the base URL; if the server uses a private authority, give its certificate with --ca-cert
            ");
        }
    }
}

#[test]
fn https_to_a_port_for_http_is_told_at_once() {
    let world = World::generated(Options::default(), 3);
    let mut command = world.command();
    command.env("OVERMIND_LAB_BASE_URL", format!("https://{}", world.server.addr()));
    command.args(["export", &ID.to_string(), "-o", "rows.jsonl"]);
    insta::assert_snapshot!(tell(&world, &Ran::of(&mut command)), @r#"
    exit 78
    error: the base URL "https://API/" cannot be used: the server does not speak TLS: use http://, or another port
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai
    "#);
    assert_eq!(world.server.stats().connections, 1);
}

#[test]
fn http_to_a_port_for_https_is_told_at_once() {
    let secured = Secured::for_name("localhost");
    let mut command = secured.world.command();
    let address = format!("localhost:{}", secured.tls.port());
    command.env("OVERMIND_LAB_BASE_URL", format!("http://{address}"));
    let ran = Ran::of(command.args(["export", &ID.to_string(), "-o", "rows.jsonl"]));
    insta::assert_snapshot!(tell(&secured.world, &ran).replace(&address, "API"), @r#"
    exit 78
    error: the base URL "http://API/" cannot be used: the server does not speak plain http: use https://, or another port
      hint: set it with --base-url, OVERMIND_LAB_BASE_URL or OVERMIND_API_URL; an example is https://api.overmindlab.ai
    "#);
    assert_eq!(secured.tls.connections(), 1);
    // What nginx, Apache, Go and Node.js answer.
    for body in [
        "<title>400 The plain HTTP request was sent to HTTPS port</title>",
        "<p>You're speaking plain HTTP to an SSL-enabled server port.</p>",
        "Client sent an HTTP request to an HTTPS server.\n",
    ] {
        let told = told_on(1, Fault::status(400).body(body), &["export ID -o rows.jsonl"]);
        assert!(told.contains("does not speak plain http"), "{told}");
    }
}

#[test]
fn a_system_without_authorities_is_told() {
    let world = World::generated(Options::default(), 3);
    std::fs::write(world.path("none.pem"), "").unwrap();
    let told = session_with(&world, &["datasets --base-url https://api.example.test"], |it| {
        it.env("SSL_CERT_FILE", world.path("none.pem"));
    });
    insta::assert_snapshot!(told, @"
    $ overmind-export datasets --base-url https://api.example.test
    exit 78
    error: the system has no CA certificates
      hint: install the package ca-certificates (its usual name), set SSL_CERT_FILE to a PEM file of CA certificates, or give the server's CA certificate with --ca-cert
    ");
    // An authority of one's own is enough.
    let secured = Secured::for_name("localhost");
    let port = secured.tls.port();
    let told = session_with(&secured.world, &["datasets --ca-cert authority.pem"], |it| {
        it.env("SSL_CERT_FILE", world.path("none.pem"));
        it.env("OVERMIND_LAB_BASE_URL", format!("https://localhost:{port}"));
    });
    assert!(told.contains("exit 0"), "{told}");
}
