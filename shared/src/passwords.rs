//! The password policy: long enough, and not a common password (NIST SP 800-63B §3.1.1.2). There are no composition
//! rules, because they lead to worse passwords. The daemon applies it; a program that prompts for a password can tell
//! before it prompts for the repetition.

use crate::api::users::{MAX_PASSWORD, MIN_PASSWORD};
use crate::names;
use crate::secret::Secret;

/// The most common passwords of public leaks that are long enough for this policy, lower case, one per line.
const COMMON: &str = include_str!("common_passwords.txt");

/// Refuses a password that is too short, too long, common, or one of the person's own names: the user name, the address,
/// or what is before its `@`. The error says what is expected.
pub fn check(password: &Secret, names: &[&str]) -> Result<(), String> {
    let password = password.expose();
    let length = password.chars().count();
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&length) {
        return Err(format!("expected {MIN_PASSWORD} to {MAX_PASSWORD} characters"));
    }
    let folded = names::fold(password);
    let is_one_letter = folded.chars().all(|c| folded.starts_with(c));
    let is_run = folded.as_bytes().windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    let is_name = names.iter().any(|name| {
        let name = names::fold(name);
        name == folded || name.rsplit_once('@').is_some_and(|(local, _)| local == folded)
    });
    if is_one_letter || is_run || is_name || COMMON.lines().any(|common| common == folded) {
        return Err("this password is easy to guess; choose a longer phrase of your own".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_tries_first_is_refused() {
        for password in ["short12", "password", "PassWord", "12345678", "aaaaaaaaaa", "abcdefgh", "alice.smith"] {
            assert!(check(&password.into(), &["alice.smith"]).is_err(), "{password}");
        }
        for password in ["correct horse", "T3st-dr1ve", &"long ".repeat(200)] {
            check(&password.into(), &["alice.smith"]).unwrap();
        }
        assert!(check(&"x y".repeat(400).into(), &["a"]).is_err());
    }

    #[test]
    fn ones_own_names_are_refused_in_every_spelling() {
        let names = ["Ada Lovelace", "Ada.King@example.com"];
        for password in
            ["ada lovelace", "ADA LOVELACE", "ada.king@example.com", "\u{ff21}da.King@Example.com", "Ada.King"]
        {
            assert!(check(&password.into(), &names).is_err(), "{password}");
        }
        for password in ["example.com", "ada.king@example.org", "lovelace"] {
            check(&password.into(), &names).unwrap();
        }
        // What has no address has an empty one.
        check(&"a longer phrase".into(), &["ada", ""]).unwrap();
    }

    #[test]
    fn the_list_is_in_the_form_that_it_is_compared_in() {
        for common in COMMON.lines() {
            assert!(names::fold(common) == common && common.chars().count() >= MIN_PASSWORD, "{common:?}");
        }
    }
}
