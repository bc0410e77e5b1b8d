//! Tells the linker which functions belong side by side: `layout.ld`, made by `tests/bench/layout`, takes seven
//! megabytes off an idle authd.
//!
//! Only where rustc brings the linker itself (lld, on this one target), and only when nobody has chosen another one.
//! `AUTHD_LAYOUT=none` links without it.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:rerun-if-env-changed=AUTHD_LAYOUT");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let own_linker =
        ["linker", "fuse-ld"].iter().any(|word| flags.contains(word)) || env::var_os("RUSTC_LINKER").is_some();
    if is("TARGET", "x86_64-unknown-linux-gnu") && !is("OPT_LEVEL", "0") && !is("AUTHD_LAYOUT", "none") && !own_linker {
        let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bin=authd=-Wl,-T,{}", Path::new(&folder).join("layout.ld").display());
    }
}
