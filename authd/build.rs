//! What the linker is told about the program `authd`, so that an idle one stays small.
//!
//! `layout.ld`, made by `tests/bench/layout`, puts functions side by side that run together, which takes four
//! megabytes off; packed relocations take another one. Only where rustc brings the linker itself (lld, on this one
//! target), and only when nobody has chosen another one. `AUTHD_LAYOUT=none` links without the layout.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:rerun-if-env-changed=AUTHD_LAYOUT");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_chosen =
        env::var_os("RUSTC_LINKER").is_some() || ["linker", "fuse-ld"].iter().any(|word| flags.contains(word));
    if !is("TARGET", "x86_64-unknown-linux-gnu") || is("OPT_LEVEL", "0") || is_chosen {
        return;
    }
    if !is("AUTHD_LAYOUT", "none") {
        let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bin=authd=-Wl,-T,{}", Path::new(&folder).join("layout.ld").display());
    }
    if glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bin=authd=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library, which understands packed relocations from 2.36 on. What is linked here
/// does not run where it is older.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("ldd").arg("--version").output().ok()?;
    // "ldd (Debian GLIBC 2.36-9+deb12u10) 2.36"
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.lines().next()?.rsplit(' ').next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
