use proptest::prelude::*;

use super::*;

#[test]
fn methods_are_capital_letters() {
    for good in ["GET", "DELETE", "M-SEARCH"] {
        assert_eq!(method(good.as_bytes()), Ok(good));
    }
    for bad in ["", "get", "Get", "GET ", "GET,POST", "GET\0", "É", &"X".repeat(33)] {
        assert!(method(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_uri_is_its_decoded_path() {
    for (uri, path) in [
        ("/", "/"),
        ("/api/a", "/api/a"),
        ("/api/", "/api"),
        ("/a|b[c]^d", "/a|b[c]^d"),
        ("/a%7Cb%5Bc%5D%5Ed", "/a|b[c]^d"),
        ("/+/x", "/+/x"),
        ("/api?x=/admin/../..", "/api"),
        ("/?", "/"),
        ("/a?%zz", "/a"),
        ("/%61pi/a%20b", "/api/a b"),
        ("/gr%C3%B6%C3%9Fe", "/größe"),
        ("/a:b@c!$&'()*+,=~_-.d", "/a:b@c!$&'()*+,=~_-.d"),
        ("/.well-known/x", "/.well-known/x"),
        ("/v1.2/a", "/v1.2/a"),
        ("http://shop.example:80/api", "/api"),
        ("HTTPS://[::1]:443/api?x", "/api"),
    ] {
        assert_eq!(path_of(uri.as_bytes()).as_ref().map(Path::as_str), Ok(path), "{uri}");
    }
}

#[test]
fn what_two_programs_could_read_in_two_ways_is_refused() {
    let long = format!("/{}", "a".repeat(MAX_URI));
    for uri in [
        "",
        "*",
        "api",
        "?",
        "?x=/api",
        "/api/../admin",
        "/..",
        "/../",
        "/a/..",
        "/./a",
        "/a/.",
        "/a/...",
        "/a/..%20/b",
        "/a/.%20./b",
        "/a/.%C2%A0./b",
        "/a/.%E2%80%8B./b",
        "/a/..+/b",
        "/a/..&b",
        "/a/%E2%80%8B/b",
        "/a/%E2%80%A5/b",
        "/a/%EF%BC%8E%EF%BC%8E/b",
        "/a%EF%BC%8Fb",
        "/a%E2%88%95b",
        "/a%EF%BC%BCb",
        "/a%C2%A5b",
        "/a%EF%BC%85%32%65",
        "/a%EF%BC%9Bb",
        "/a%CD%BEb",
        "/a%EF%BC%9Fb",
        "/a%E2%84%80b",
        "/a::$DATA",
        "/a:$i30:$INDEX_ALLOCATION/b",
        "/a%EF%BC%9A$DATA",
        "/%20/",
        "//",
        "//admin",
        "/api//admin",
        "/api//",
        "/api/%2e%2e/admin",
        "/api/%2E%2E/admin",
        "/api/.%2e/admin",
        "/api%2fadmin",
        "/api%2Fadmin",
        "/api/..%2fadmin",
        "/api%5cadmin",
        "/api\\admin",
        "/api/..\\admin",
        "/api%00",
        "/api%00/admin",
        "/api%0aX",
        "/api%0d%0aX: y",
        "/api%7f",
        "/api%c2%85",
        "/api%",
        "/api%2",
        "/api%zz",
        "/api%252e%252e/admin",
        "/api%25",
        "/api%u002e",
        "/api;x",
        "/api/..;/admin",
        "/api%3bx",
        "/api%3Fx",
        "/api%23x",
        "/api#x",
        "/api?x#y",
        "#",
        "/ap i",
        "/api\t",
        "/api\u{0}",
        "/größe",
        "/\u{feff}api",
        "/api%ff",
        "/api%c0%ae%c0%ae/x",
        "/api%c0%af",
        "/api<",
        "/api>",
        "/api\"",
        "/api{",
        "/api`",
        "/api}",
        "http://",
        "http://a",
        "http://a?/api",
        "http:///api",
        "http:/api",
        "ftp://a/api",
        "//a/api",
        "http://u@a/api",
        "http://a%2f/api",
        "http://a/../admin",
        "http://a//admin",
        "http://a b/api",
        "javascript:/api",
        &long,
        "/ad%C2%ADmin",
        "/x/%D9%AA2e",
    ] {
        assert!(path_of(uri.as_bytes()).is_err(), "{uri:?} is {:?}", path_of(uri.as_bytes()));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = method(&bytes);
        let _ = path_of(&bytes);
    }

    #[test]
    fn what_is_let_through_names_one_place(uri in "/?[a-z./%\\\\;?#25eEfF :@]{0,40}") {
        if let Ok(path) = path_of(uri.as_bytes()) {
            let path = path.as_str();
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains(['%', '\\', ';', '?', '#']));
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            // Decoded again, earlier or later, it is the same path or none: some characters are taken only encoded.
            prop_assert!(path_of(path.as_bytes()).map_or(true, |again| again.as_str() == path));
        }
    }

    #[test]
    fn the_case_of_hex_digits_and_encoding_do_not_change_a_path(path in "(/[a-zA-Z0-9 äß|^_-]{1,6}){1,3}") {
        let upper: String = path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02X}") }).collect();
        let lower: String = path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") }).collect();
        let plain = shared::wire::percent_encode(&path).to_string().replace("%2F", "/");
        prop_assert_eq!(path_of(upper.as_bytes()), path_of(plain.as_bytes()));
        prop_assert_eq!(path_of(upper.as_bytes()), path_of(lower.as_bytes()));
        let twice = upper.replace('%', "%25");
        prop_assert!(path_of(twice.as_bytes()).is_err());
    }
}
