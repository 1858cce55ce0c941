//! Certificates: which are trusted, and the messages about untrusted ones.

use overmind_export::demo::{Fault, Options};

use super::{session_with, tell, told_on};
use crate::{
    secured::Tls,
    support::{ID, KEY, Ran, World},
};

const EXPORT: &str = "export ID -o rows.jsonl";

/// An embedded API behind TLS. A private authority signs its certificate for one host name.
struct Secured {
    world: World,
    tls: Tls,
}

impl Secured {
    /// Writes the certificate of the authority to `authority.pem` in the folder.
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
fn unknown_authority_is_refused_without_retry() {
    let secured = Secured::for_name("localhost");
    insta::assert_snapshot!(secured.told(EXPORT), @"
    $ overmind-export export ID -o rows.jsonl
    exit 69
    error: cannot verify the certificate of https://localhost:PORT
      cause: this machine does not trust the issuer
      hint: check the base URL; if the server uses a private authority, give its certificate with --ca-cert
    ");
    assert_eq!(secured.tls.connections(), 1);
    assert_eq!(secured.world.server.stats().connections, 0);
    assert_eq!(secured.world.entries(), ["authority.pem"]);
}

#[test]
fn private_authority_is_trusted_when_given() {
    let secured = Secured::for_name("localhost");
    insta::assert_snapshot!(secured.told("export ID -o rows.jsonl --ca-cert authority.pem"), @"
    $ overmind-export export ID -o rows.jsonl --ca-cert authority.pem
    exit 0
    300 rows in 1 file (293.60 KiB) · T s · N rows/s · complete: every row once
      rows.jsonl
    ");
}

#[test]
fn certificate_for_another_name_is_refused() {
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
fn key_is_not_logged_over_tls() {
    let secured = Secured::for_name("localhost");
    for (trust, expected) in [("", "exit 69"), (" --ca-cert authority.pem", "exit 0")] {
        let told = secured.told(&format!("export ID -o rows.jsonl -vvv{trust}"));
        assert!(told.contains(expected) && told.contains("TRACE"), "{told}");
        assert!(!told.contains(KEY), "{expected}");
    }
}

#[test]
fn self_signed_certificate_is_trusted_when_given() {
    for (name, line) in [("localhost", "datasets"), ("api.example.test", "datasets -q")] {
        let world = World::generated(Options::default(), 3);
        let tls = Tls::self_signed(world.server.addr(), name, world.folder.path());
        let secured = Secured { world, tls };
        let untrusted = secured.told(line);
        assert!(untrusted.contains("exit 69") && untrusted.contains("CA:TRUE"), "{untrusted}");
        let trusted = secured.told(&format!("{line} --ca-cert authority.pem"));
        if name == "localhost" {
            assert!(trusted.contains("exit 0"), "{trusted}");
            // Another certificate for the same name is not trusted.
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
fn https_to_an_http_port_fails_at_once() {
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
fn http_to_an_https_port_fails_at_once() {
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
    // Answers of servers such as nginx, Apache, Go and Node.js.
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
fn system_without_authorities_is_reported() {
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
    // The authority given with --ca-cert is enough.
    let secured = Secured::for_name("localhost");
    let port = secured.tls.port();
    let told = session_with(&secured.world, &["datasets --ca-cert authority.pem"], |it| {
        it.env("SSL_CERT_FILE", world.path("none.pem"));
        it.env("OVERMIND_LAB_BASE_URL", format!("https://localhost:{port}"));
    });
    assert!(told.contains("exit 0"), "{told}");
}
