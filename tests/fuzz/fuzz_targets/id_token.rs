#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::id_token::check(input));
