//! QR codes as SVG, PNG, and text for a terminal.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code (ISO/IEC 18004 §6.3.8).
const QUIET: usize = 4;
/// Pixels of a module in a PNG.
const SCALE: usize = 4;

/// A QR code: a square of modules with its quiet zone.
#[derive(Clone)]
pub struct Qr {
    width: usize,
    /// Row by row; true is dark.
    modules: Vec<bool>,
}

impl std::fmt::Debug for Qr {
    /// The text may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Qr")
    }
}

impl Qr {
    /// The smallest code of a text; `None` if the text is longer than 2,953 bytes. On a screen nothing is damaged, so the
    /// lowest level of error correction is enough.
    pub fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let inner = code.width();
        let width = inner + 2 * QUIET;
        let mut modules = vec![false; width * width];
        for (index, color) in code.to_colors().into_iter().enumerate() {
            modules[(index / inner + QUIET) * width + index % inner + QUIET] = color == Color::Dark;
        }
        Some(Self { width, modules })
    }

    fn rows(&self) -> impl Iterator<Item = &[bool]> {
        self.modules.chunks_exact(self.width)
    }

    /// An SVG image that can stand in a page. Its unit is a module; the reader chooses its size.
    pub fn to_svg(&self) -> String {
        use std::fmt::Write as _;
        let width = self.width;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {width}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{width}v{width}H0z\"/><path d=\""
        );
        for (y, row) in self.rows().enumerate() {
            for (x, _) in row.iter().enumerate().filter(|(_, is_dark)| **is_dark) {
                // Writing to a string cannot fail.
                let _ = write!(svg, "M{x} {y}h1v1h-1z");
            }
        }
        svg + "\"/></svg>"
    }

    /// A PNG image of one bit a pixel. Its data is stored, not compressed: an encoder would be a larger dependency than
    /// the few kilobytes are worth.
    pub fn to_png(&self) -> Vec<u8> {
        let pixels = self.width * SCALE;
        let mut raw = Vec::with_capacity(pixels * (pixels / 8 + 2));
        for row in self.rows() {
            let mut line = vec![0; 1 + pixels.div_ceil(8)]; // filter 0: none
            for pixel in (0..pixels).filter(|pixel| !row[pixel / SCALE]) {
                line[1 + pixel / 8] |= 0x80 >> (pixel % 8);
            }
            (0..SCALE).for_each(|_| raw.extend_from_slice(&line));
        }
        let side = u32::try_from(pixels).unwrap_or(u32::MAX).to_be_bytes();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        // Depth 1, greyscale.
        chunk(&mut png, *b"IHDR", &[&side[..], &side, &[1, 0, 0, 0, 0]].concat());
        chunk(&mut png, *b"IDAT", &stored(&raw));
        chunk(&mut png, *b"IEND", &[]);
        png
    }

    /// Lines for a terminal, two modules above each other in a character. A light module is a block, so that the code
    /// is right on a dark terminal; `colour` makes it right on any.
    pub fn to_text(&self, colour: bool) -> String {
        let (start, end) = if colour { ("\x1b[97;40m", "\x1b[0m\n") } else { ("", "\n") };
        let mut text = String::new();
        for pair in self.modules.chunks(2 * self.width) {
            let (upper, lower) = pair.split_at(self.width);
            text += start;
            for (x, upper) in upper.iter().enumerate() {
                // Below the last row there is nothing, which is dark on a dark terminal.
                text.push(match (upper, lower.get(x).unwrap_or(&true)) {
                    (false, false) => '█',
                    (false, true) => '▀',
                    (true, false) => '▄',
                    (true, true) => ' ',
                });
            }
            text += end;
        }
        text
    }

    /// The same in ASCII, two characters a module: light is `#`, for a dark terminal; most readers take both.
    pub fn to_ascii(&self) -> String {
        let line =
            |row: &[bool]| row.iter().map(|is_dark| if *is_dark { "  " } else { "##" }).collect::<String>() + "\n";
        self.rows().map(line).collect()
    }
}

/// Appends a PNG chunk: length, type, data, CRC-32 of type and data.
fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    png.extend(crc32fast::hash(&png[start..]).to_be_bytes());
}

/// A zlib stream (RFC 1950) of stored blocks (RFC 1951 §3.2.4).
fn stored(data: &[u8]) -> Vec<u8> {
    let mut zlib = vec![0x78, 0x01];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        zlib.push(u8::from(blocks.peek().is_none()));
        zlib.extend(length.to_le_bytes());
        zlib.extend((!length).to_le_bytes());
        zlib.extend(block);
    }
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    zlib.extend((b << 16 | a).to_be_bytes());
    zlib
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/tests/e2e/totp.rs` gives to a reader of QR codes is one of these.
    #[test]
    fn all_forms_show_the_same_modules() {
        for length in [1, 130, 2_953] {
            let qr = Qr::new(&"x".repeat(length)).unwrap();
            let dark = qr.modules.iter().filter(|is_dark| **is_dark).count();
            assert_eq!(qr.to_svg().matches("h1v1").count(), dark);
            let text = qr.to_text(false);
            let shown = |sign| text.matches(sign).count();
            let below = if qr.width % 2 == 1 { qr.width } else { 0 };
            assert_eq!(2 * shown(' ') + shown('▀') + shown('▄') - below, dark);
            let png = qr.to_png();
            let bits: u32 = png[33..].iter().map(|byte| byte.count_ones()).sum();
            assert!(bits > 0 && png.starts_with(b"\x89PNG"));
            // Outside is light on all sides.
            assert!(qr.rows().take(QUIET).all(|row| row.iter().all(|is_dark| !is_dark)));
        }
        assert!(Qr::new(&"x".repeat(2_954)).is_none());
    }

    #[test]
    fn adler_and_blocks_are_as_the_rfcs_say() {
        // RFC 1950's checksum of "Wikipedia" is 0x11E60398.
        assert_eq!(
            stored(b"Wikipedia"),
            [&[0x78, 1, 1, 9, 0, 0xf6, 0xff], &b"Wikipedia"[..], &[0x11, 0xe6, 3, 0x98]].concat()
        );
        let long = stored(&vec![7; 70_000]);
        assert_eq!((long[2], long[2 + 5 + 65_535]), (0, 1), "only the last block is marked");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Qr::new("secret").unwrap()), "Qr");
    }
}
