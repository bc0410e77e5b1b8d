//! The release of a CLI login, as a person carries it from a page to a terminal: 80 random bits and a checksum, in letters
//! and digits that do not look alike (Crockford's base 32), so that a mistyped one is noticed before it counts as wrong.

/// The symbols, by their values. `I`, `L`, `O` and `U` are missing.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Random symbols, of five bits each.
pub const RANDOM: usize = 16;
/// Symbols with the checksum.
pub const LENGTH: usize = RANDOM + 2;
/// Symbols between two hyphens.
const GROUP: usize = 6;
/// A prime below 2^10: a wrong symbol and two that changed places always change the sum.
const MODULUS: u32 = 1021;
const FACTOR: u32 = 37;

/// The text of so many random bytes, of which five bits each are used: symbols in groups of a given size.
pub fn symbols<const N: usize>(random: [u8; N], group: usize) -> String {
    grouped(random.into_iter().map(|byte| symbol(u32::from(byte))), group)
}

/// A release of these random bytes, in three groups.
pub fn release(random: [u8; RANDOM]) -> String {
    let values = random.map(|byte| u32::from(byte & 31));
    let sum = checksum(values);
    grouped(values.into_iter().chain([sum >> 5, sum]).map(symbol), GROUP)
}

/// What was typed or pasted: without spaces and hyphens, in capitals, and with what looks like a symbol read as that one.
pub fn read(typed: &str) -> String {
    let kept = typed.chars().filter(|c| !c.is_whitespace() && *c != '-');
    kept.map(|c| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    })
    .collect()
}

/// Whether what was typed is a whole release, by its length and checksum.
pub fn is_whole(typed: &str) -> bool {
    let read = read(typed);
    let values: Option<Vec<u32>> = read.bytes().map(value).collect();
    let Some(values) = values.filter(|values| values.len() == LENGTH) else { return false };
    let (random, sum) = values.split_at(RANDOM);
    checksum(random.iter().copied()) == (sum[0] << 5 | sum[1])
}

fn symbol(value: u32) -> char {
    char::from(SYMBOLS[(value & 31) as usize])
}

fn value(symbol: u8) -> Option<u32> {
    SYMBOLS.iter().position(|known| *known == symbol).and_then(|at| u32::try_from(at).ok())
}

fn checksum(values: impl IntoIterator<Item = u32>) -> u32 {
    values.into_iter().fold(1, |sum, value| (sum * FACTOR + value) % MODULUS)
}

fn grouped(symbols: impl Iterator<Item = char>, group: usize) -> String {
    let mut text = String::new();
    for (index, symbol) in symbols.enumerate() {
        if index > 0 && index % group == 0 {
            text.push('-');
        }
        text.push(symbol);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_reads_the_same_however_it_is_typed() {
        let random = std::array::from_fn(|at| u8::try_from(at * 13 + 7).unwrap());
        let release = release(random);
        assert_eq!(release.len(), LENGTH + 2);
        let typed = release.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(read(&format!(" {typed}\n")), release.replace('-', ""));
        assert!(is_whole(&typed) && !is_whole("") && !is_whole(&release[1..]));
        assert_eq!(symbols([0, 1, 2, 3, 31, 32, 33, 255], 4), "0123-Z01Z");
    }

    #[test]
    fn a_wrong_symbol_and_a_swapped_pair_are_noticed() {
        let release = read(&release([3, 200, 17, 31, 0, 9, 250, 4, 77, 5, 1, 2, 90, 30, 64, 12]));
        for at in 0..LENGTH {
            for other in SYMBOLS {
                let mut typed = release.clone().into_bytes();
                let before = std::mem::replace(&mut typed[at], *other);
                assert_eq!(is_whole(std::str::from_utf8(&typed).unwrap()), before == *other, "{at}");
            }
            for to in 0..at {
                let mut typed = release.clone().into_bytes();
                typed.swap(at, to);
                assert_eq!(is_whole(std::str::from_utf8(&typed).unwrap()), typed == release.as_bytes(), "{at} {to}");
            }
        }
    }
}
