//! The page of a person's files, in a real browser.

use super::*;
use tests::browser::walk;

/// A person who is at the page of their files, in this window.
fn at_files(window: &str, authd: &Authd) -> Vec<Value> {
    vec![
        json!({"window": window, "goto": format!("{}/dashboard/files", authd.url())}),
        json!({"window": window, "fill": {"username": "ann", "password": PASSWORD}}),
        json!({"window": window, "press": "Sign in"}),
        json!({"window": window, "see": "There are no files yet"}),
    ]
}

/// Uploads with the bar of the script, then deletes.
fn works_in_a_browser(authd: &Authd, is_empty: impl Fn() -> bool) {
    sign_in(authd, "ann");
    let dir = authd.dir();
    let wide = format!("a {}.pdf", "very_long_name_".repeat(12));
    let large = file(dir, "<img src=x>.pdf", PDF, 9 << 20);
    let (wide, program) = (file(dir, &wide, PDF, 3_000), file(dir, "program.exe", b"MZ\0\0", 0));
    let shot = |name: &str| std::env::var("AUTHD_SHOTS").map(|dir| json!({"shot": format!("{dir}/{name}")}));
    let mut steps = at_files("first", authd);
    steps.extend([json!({"axe": true})]);
    steps.extend(shot("files-none"));
    steps.extend([
        json!({"attach": [large, wide, program]}),
        json!({"slow": 6 << 20}),
        json!({"click": "Upload"}),
        json!({"see": "Uploading: [1-9]\\d* %"}),
    ]);
    steps.extend(shot("files-uploading"));
    steps.extend([
        json!({"see": "stored\\.[^]*program.exe: Its content is of no type[^]*PDF, 9 MiB, since"}),
        json!({"axe": true}),
    ]);
    steps.extend(shot("files"));
    steps.extend([
        json!({"goto": format!("{}/dashboard", authd.url())}),
        json!({"press": "Files"}),
        json!({"download": "<img src=x>.pdf"}),
        json!({"press": "^Delete <img"}),
        json!({"see": "2.9 KiB of 1 GiB used, 1 of 10,000 files"}),
        json!({"press": "^Delete a very"}),
        json!({"see": "There are no files yet"}),
    ]);
    let told = walk(&json!(steps));
    for (step, told) in steps.iter().zip(&told) {
        assert!(step.get("axe").is_none() || *told == json!([]), "axe found {told:#}");
    }
    let told = told.iter().find(|told| told["size"].is_number()).expect("a download");
    assert_eq!((&told["size"], &told["name"]), (&json!(9 << 20), &json!("_img src=x_.pdf")));
    until(TIMEOUT, "an empty store", || is_empty().then_some(()));
}

#[test]
fn a_person_uploads_with_a_bar_and_deletes_with_a_directory() {
    let authd = Authd::start();
    let folder = authd.dir().join("data/files");
    works_in_a_browser(&authd, || is_empty_folder(&folder));
}

#[test]
fn a_person_uploads_with_a_bar_and_deletes_with_s3() {
    let s3 = S3::moto();
    let authd = setup(&s3, s3.port).start();
    works_in_a_browser(&authd, || s3.stored() == (vec![], vec![]));
}

#[test]
fn the_page_works_without_script() {
    let authd = Setup::new().toml("[files]\nmax_bytes = 4000\n").start();
    sign_in(&authd, "ann");
    let dir = authd.dir();
    let (good, large) = (file(dir, "good.pdf", PDF, 3_000), file(dir, "large.pdf", PDF, 5_000));
    let flood = file(dir, "flood.pdf", PDF, 3 << 20);
    let mut steps = at_files("plain", &authd);
    for step in [
        json!({"attach": [good, large]}),
        json!({"press": "Upload"}),
        json!({"see": "good.pdf: stored.[^]*large.pdf: A file may have at most 4000 bytes."}),
        // More than any upload may have is refused before it was sent.
        json!({"attach": [flood]}),
        json!({"press": "Upload"}),
        json!({"see": "An upload may have at most 16 files of 4000 bytes"}),
        json!({"goto": format!("{}/dashboard/files", authd.url())}),
        json!({"see": "PDF, 2.9 KiB"}),
        json!({"press": "^Delete good"}),
        json!({"see": "There are no files yet"}),
    ] {
        let mut step = step;
        step["window"] = json!("plain");
        steps.push(step);
    }
    walk(&json!(steps));
}
