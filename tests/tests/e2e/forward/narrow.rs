//! The proxies with a wide rule behind the narrow ones: no spelling of a path, and no header, makes it decide about what
//! a narrow rule names.

use super::*;

/// A rule behind those of the examples, that allows everybody everything.
const WIDE: &str = "[[policy.rule]]\npaths = [\"/*\"]\npublic = true\n";

impl Shop {
    fn a_narrow_rule_is_not_widened(&self) {
        let name = self.kind.name();
        let (nobody, reader) = (self.client(), self.client().bearer(&self.reader));
        for target in ["/", "/x", "/a|b[c]^d", "/caf%C3%A9", "/administrator"] {
            assert_eq!(self.get(&nobody, target).status, 200, "{name} {target}");
            // Go encodes it, which is the same path.
            let encoded = target.replace('|', "%7C").replace('[', "%5B").replace(']', "%5D").replace('^', "%5E");
            assert!([target, &encoded].contains(&&*self.app.last().target), "{name}: {:?}", self.app.last());
        }
        for target in [
            "/admin/",
            "/admin./x",
            "/admin%20/x",
            "/ADMIN/x",
            "/ad%C2%ADmin/x",
            "/%EF%BD%81dmin/x",
            "/adm%C3%ADn/x",
            "/admin.json",
            "/admin&/x",
            "/x#/../admin/y",
            "/API/orders",
            "/api./orders",
        ] {
            for method in ["GET", "HEAD", "POST", "DELETE", "PROPFIND"] {
                self.denied(&nobody, method, target);
            }
        }
        for method in ["PATCH", "PROPFIND", "OPTIONS"] {
            self.denied(&reader, method, "/api/orders");
        }
        assert_eq!(reader.send("HEAD", "/api/orders", None).expect("an answer").status, 200, "{name}");
    }

    fn headers_that_override_a_request_are_judged(&self) {
        let (reader, writer) = (self.client().bearer(&self.reader), self.client().bearer(&self.writer));
        for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
            for method in ["DELETE", "delete", "PATCH"] {
                self.denied(&reader.clone().with(header, method), "GET", "/api/orders");
            }
            let put = writer.clone().with(header, "PUT").send("POST", "/api/orders", Some(("text/plain", b"x")));
            assert_eq!(put.expect("an answer").status, 200, "{} {header}", self.kind.name());
        }
        self.denied(&reader, "GET", "/api/orders?_method=DELETE");
        for header in ["X-Original-URL", "X-Rewrite-URL"] {
            self.denied(&self.client().with(header, "/admin/x"), "GET", "/x");
            assert_eq!(self.get(&self.client().with(header, "/y"), "/x").status, 200, "{} {header}", self.kind.name());
        }
        // One that a service behind CGI or WSGI reads as the other either is judged or does not arrive.
        let http = reader.with("X_HTTP_Method_Override", "DELETE");
        let before = self.app.count();
        let status = http.get("/api/orders").expect("an answer").status;
        if self.app.count() > before {
            assert_eq!(self.app.last().header("x_http_method_override"), "", "{}", self.kind.name());
        } else {
            assert_eq!(status, 403, "{}", self.kind.name());
        }
    }
}

fn story(kind: Kind) {
    let shop = Shop::with(kind, WIDE);
    shop.a_narrow_rule_is_not_widened();
    shop.headers_that_override_a_request_are_judged();
}

#[test]
fn nginx_does_not_widen_a_narrow_rule() {
    story(Kind::Nginx);
}

#[test]
fn caddy_does_not_widen_a_narrow_rule() {
    story(Kind::Caddy);
}

#[test]
fn traefik_does_not_widen_a_narrow_rule() {
    story(Kind::Traefik);
}

#[test]
fn haproxy_does_not_widen_a_narrow_rule() {
    story(Kind::Haproxy);
}

#[test]
fn envoy_does_not_widen_a_narrow_rule() {
    story(Kind::Envoy);
}

#[test]
fn envoy_over_grpc_does_not_widen_a_narrow_rule() {
    story(Kind::EnvoyGrpc);
}
