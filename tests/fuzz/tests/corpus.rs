//! The inputs in `corpus/`: one for each form that a parser reads, so that the fuzzer starts with them, and every one
//! that once broke a property.

use std::path::Path;

#[test]
fn the_inputs_that_are_kept_break_no_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, check) in fuzz::TARGETS {
        let inputs = std::fs::read_dir(corpus.join(target)).unwrap();
        let mut count = 0;
        for input in inputs {
            let path = input.unwrap().path();
            println!("{}", path.display()); // shown if it panics
            check(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{target} has no inputs");
    }
}

#[test]
fn every_target_is_built_and_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (target, _) in fuzz::TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
    }
    assert_eq!(std::fs::read_dir(folder.join("fuzz_targets")).unwrap().count(), fuzz::TARGETS.len());
    assert_eq!(manifest.matches("[[bin]]").count(), fuzz::TARGETS.len());
}
