//! The engines that speak PostgreSQL's protocol, and which of them authd runs on: those that its tests run on.

/// The oldest version that its makers still mend.
const OLDEST: u32 = 14;

/// What `version()` of another engine contains, and the engine's name.
const OTHERS: [(&str, &str); 13] = [
    ("cockroachdb", "CockroachDB"),
    ("-yb-", "YugabyteDB"),
    ("yugabyte", "YugabyteDB"),
    ("dsql", "Aurora DSQL"),
    ("redshift", "Amazon Redshift"),
    ("greenplum", "Greenplum"),
    ("materialize", "Materialize"),
    ("risingwave", "RisingWave"),
    ("cratedb", "CrateDB"),
    ("questdb", "QuestDB"),
    ("gauss", "openGauss"),
    ("kingbase", "KingbaseES"),
    ("spanner", "Spanner"),
];

/// Refuses what is not PostgreSQL by its `version()`. PostgreSQL's begins with its name and number and says what it was
/// compiled by; Aurora DSQL answers with name and number alone.
pub(super) fn check(version: &str) -> Result<(), String> {
    let lower = version.to_ascii_lowercase();
    let other = OTHERS.iter().find(|(sign, _)| lower.contains(sign)).map(|(_, name)| (*name).to_owned());
    let major = version.strip_prefix("PostgreSQL ").and_then(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    let name = match (other, major) {
        (Some(name), _) => name,
        (None, Some(major)) if lower.contains("compiled by") => {
            return if major >= OLDEST {
                Ok(())
            } else {
                Err(format!("PostgreSQL {major} gets no fixes any more; use PostgreSQL {OLDEST} or newer"))
            };
        }
        (None, Some(_)) => "this engine (Aurora DSQL, or another one that does not say how it was built)".to_owned(),
        (None, None) => format!("this engine ({:?})", version.chars().take(40).collect::<String>()),
    };
    Err(format!(
        "{name} is not supported, because authd's tests do not run on it; use PostgreSQL, on a server of your own or of a \
         provider"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_by_any_packager_is_supported() {
        for version in [
            "PostgreSQL 15.8 (Debian 15.8-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit",
            "PostgreSQL 16.4 on aarch64-unknown-linux-gnu, compiled by aarch64-unknown-linux-gnu-gcc (GCC) 9.5.0, 64-bit",
            "PostgreSQL 16.1, compiled by Visual C++ build 1937, 64-bit",
            "PostgreSQL 18beta1 on x86_64-pc-linux-musl, compiled by gcc (Alpine 14.2.0) 14.2.0, 64-bit",
            "PostgreSQL 17.2 - Percona Server for PostgreSQL 17.2.1 on x86_64-pc-linux-gnu, compiled by gcc, 64-bit",
        ] {
            assert_eq!(check(version), Ok(()), "{version}");
        }
    }

    #[test]
    fn other_engines_are_refused_by_name() {
        for (version, name) in [
            ("CockroachDB CCL v23.1.11 (x86_64-pc-linux-gnu, built 2023/09/27 01:53:43, go1.19.10)", "CockroachDB"),
            (
                "PostgreSQL 11.2-YB-2.18.1.0-b0 on x86_64-pc-linux-gnu, compiled by clang version 15.0.3, 64-bit",
                "YugabyteDB",
            ),
            ("PostgreSQL 15.2-YB-2025.1.0.0-b0 on x86_64-pc-linux-gnu, compiled by clang 17, 64-bit", "YugabyteDB"),
            ("PostgreSQL 16", "Aurora DSQL"),
            (
                "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2, Redshift 1.0.54321",
                "Amazon Redshift",
            ),
            ("PostgreSQL 13.14.0-RisingWave-2.0.1 (abc)", "RisingWave"),
            ("PostgreSQL 12.18 on x86_64-pc-linux-gnu, compiled by gcc, 64-bit", "PostgreSQL 12"),
            ("MySQL 8", "\"MySQL 8\""),
            ("", "this engine"),
        ] {
            let refused = check(version).expect_err(version);
            assert!(refused.contains(name), "{version}: {refused}");
        }
    }
}
