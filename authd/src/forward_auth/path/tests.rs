use proptest::prelude::*;

use super::*;

fn pattern_of(text: &str) -> PathPattern {
    PathPattern::try_from(text.to_owned()).unwrap()
}

fn path_of(text: &str) -> Path {
    Path::new(text).unwrap()
}

#[test]
fn a_pattern_is_its_path_or_with_all_that_is_below() {
    for (pattern, path, expected) in [
        ("/api/*", "/api", true),
        ("/api/*", "/api/", true),
        ("/api/*", "/api/a/b", true),
        ("/api/*", "/apix", false),
        ("/api/*", "/API/a", false),
        ("/api/*", "/a", false),
        ("/api", "/api", true),
        ("/api", "/api/", true),
        ("/api/", "/api", true),
        ("/api", "/api/a", false),
        ("/", "/", true),
        ("/", "/a", false),
        ("/*", "/", true),
        ("/*", "/a/b", true),
        ("/größe/*", "/größe/1", true),
    ] {
        assert_eq!(pattern_of(pattern).covers(&path_of(path)), expected, "{pattern} {path}");
    }
}

#[test]
fn patterns_that_no_request_can_have_are_refused() {
    for text in [
        "",
        "*",
        "api",
        "/a*",
        "/a/*/b",
        "/a/**",
        "//",
        "/a//b",
        "//*",
        "/a//*",
        "/./a",
        "/..",
        "/a/../*",
        "/a%20b",
        "/a;b",
        "/a?b",
        "/a#b",
        "/a\\b",
        "/a\nb",
        "/a／b",
        "/./*",
        "/a ./. /*",
        "/x:$DATA",
    ] {
        assert!(PathPattern::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn a_path_resembles_what_some_service_takes_it_for() {
    for (pattern, paths) in [
        (
            "/admin/*",
            &[
                "/ADMIN",
                "/admin.",
                "/admin /x",
                "/ admin/x",
                "/admin. ./x",
                "/\u{feff}admin/x/y",
                "/ａdmin",
                "/ⓐdmin",
                "/ªdmin",
                "/adm\u{131}n",
                "/adm\u{130}n",
                "/ádmin/x",
                "/admi\u{301}n",
                "/admin+/x",
                "/admin+&a",
                "/admin.&a/x",
                "/admin+.html",
                "/admin..html",
                "/admin.html&a/x",
                "/admin.html",
                "/admin&x/y",
                "/admin/x.json",
                "/admin/",
            ][..],
        ),
        ("/reports", &["/reports.json", "/reports.tar.gz", "/reports/index.html", "/Reports", "/reports&x"]),
        ("/x.php", &["/x.php/a", "/x.php/a/b", "/X.PHP/a", "/x.php.bak"]),
        ("/administrator/*", &["/admini~1/x", "/ADMINI~1", "/ad1f3c~2/x"]),
        ("/.git/*", &["/git~1/config"]),
        ("/.htaccess", &["/htacce~1"]),
        ("/x.html", &["/x~1.htm"]),
        ("/my docs/*", &["/mydocs~1/x"]),
        ("/a+b/*", &["/a_b~1/x"]),
        ("/admin/*", &["/αdmin/x", "/ađmin"]),
        ("/my-x", &["/my\u{2010}x", "/my\u{2212}x"]),
        ("/my.conf", &["/my~1.con"]),
        ("/", &["/index.html", "/index.php", "/&a"]),
        ("/größe", &["/gro\u{308}ße", "/GRÖSSE", "/GRÖẞE", "/größe."]),
        ("/\u{212a}/*", &["/k/x", "/K"]),
    ] {
        for path in paths {
            assert!(pattern_of(pattern).resembles(&path_of(path), &pattern_of("/*")), "{pattern} {path}");
        }
    }
    for (pattern, paths) in [
        (
            "/admin/*",
            &[
                "/administrator",
                "/admi",
                "/",
                "/x/admin",
                "/.admin",
                "/admin2/x",
                "/admin.x/y",
                "/admin.2",
                "/admin-x",
                "/admin~1",
                "/adminx.json",
            ][..],
        ),
        ("/reports", &["/reports/x", "/reports/index", "/reports/x/index.html", "/reports.2"]),
        ("/v1/*", &["/v1.2/x", "/v10/x", "/v1.2"]),
        ("/v1.2", &["/v1.2/x"]),
        ("/.git", &["/.git/x", "/git"]),
        ("/", &["/x", "/index"]),
        ("/и", &["/i"]),
        ("/की", &["/का"]),
    ] {
        for path in paths {
            assert!(!pattern_of(pattern).resembles(&path_of(path), &pattern_of("/*")), "{pattern} {path}");
        }
    }
}

#[test]
fn what_a_wider_pattern_names_too_is_not_taken_for_the_narrower_one() {
    for (pattern, wider, path, expected) in [
        ("/x", "/x/*", "/x/index.html", true),
        ("/x", "/x/*", "/x/&a", true),
        ("/x", "/x/*", "/x/y", false),
        ("/x.php", "/*", "/x.php/y", true),
        ("/x.php", "/x.php/*", "/x.php/y", false),
        ("/X/*", "/x/*", "/x/y", false),
        ("/X/y", "/x/*", "/x/y", true),
    ] {
        let (narrow, wide) = (pattern_of(pattern), pattern_of(wider));
        assert_eq!(narrow.resembles(&path_of(path), &wide), expected, "{pattern} {wider} {path}");
    }
}

#[test]
fn the_narrower_of_two_patterns_names_more() {
    let order = ["/*", "/a/*", "/a", "/a/b/*", "/a/b"];
    for pair in order.windows(2) {
        assert!(pattern_of(pair[0]).narrowness() < pattern_of(pair[1]).narrowness(), "{pair:?}");
    }
    assert!(pattern_of("/a/*").includes(&pattern_of("/a")) && pattern_of("/a/*").includes(&pattern_of("/a/b/*")));
    assert!(!pattern_of("/a").includes(&pattern_of("/a/*")) && !pattern_of("/a/*").includes(&pattern_of("/*")));
}

proptest! {
    #[test]
    fn a_pattern_is_written_as_it_was_but_for_a_slash_at_its_end(text in "[/a-z.*%;]{0,20}") {
        if let Ok(pattern) = PathPattern::try_from(text.clone()) {
            let trimmed = if text == "/" { &text } else { text.strip_suffix('/').unwrap_or(&text) };
            prop_assert_eq!(String::from(pattern.clone()), trimmed);
            prop_assert_eq!(PathPattern::try_from(String::from(pattern.clone())), Ok(pattern));
        }
    }

    #[test]
    fn any_text_is_a_path_or_refused(text in "/\\PC{0,30}") {
        if let Ok(path) = Path::new(&text) {
            prop_assert_eq!(Path::new(path.as_str()), Ok(path.clone()));
            // What a pattern covers, it resembles.
            if let Ok(pattern) = PathPattern::try_from(text) {
                prop_assert!(!pattern.covers(&path) || pattern == pattern_of("/*") || pattern.resembles(&path, &pattern_of("/*")));
            }
        }
    }
}
