//! Uploads. Input: sizes of chunks, a boundary, then name, file name and content of each part, separated by 0xff.
//!
//! What a writer wrote is read, however it is split; anything else is read the same, however it is split, or refused.

use authd::files::multipart::{Event, Fault, Multipart, Part};

type Parts = Vec<(Part, Vec<u8>)>;

pub fn check(input: &[u8]) {
    let mut parts = super::parts(input);
    let sizes = parts.next().unwrap_or_default();
    let Some(boundary) = super::text(&mut parts) else { return };
    let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
    // As it is.
    let raw: Vec<u8> = parts.clone().collect::<Vec<_>>().join(&b"\r\n"[..]);
    let Ok(whole) = Multipart::new(&content_type).map(|_| read(&content_type, &raw, &[])) else { return };
    assert_eq!(read(&content_type, &raw, sizes), whole);
    // As a writer writes it.
    let delimiter = format!("\r\n--{boundary}");
    let (mut body, mut written) = (Vec::new(), Parts::new());
    while let (Some(name), Some(file_name), Some(content)) = (parts.next(), parts.next(), parts.next()) {
        let (Ok(name), Ok(file_name)) = (std::str::from_utf8(name), std::str::from_utf8(file_name)) else { return };
        let is_plain = |text: &str| !text.contains(['"', '\\', '\r', '\n', '\0', '%']);
        let is_free = |content: &[u8]| {
            let with_break = [b"\r\n", content].concat();
            !with_break.windows(delimiter.len()).any(|window| window == delimiter.as_bytes())
        };
        if !is_plain(name) || !is_plain(file_name) || !is_free(content) || name.len() + file_name.len() > 4096 {
            return;
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\r\n"
        );
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
        written.push((Part { name: name.to_owned(), file_name: Some(file_name.to_owned()) }, content.to_owned()));
    }
    body.extend(format!("--{boundary}--\r\n").as_bytes());
    assert_eq!(read(&content_type, &body, sizes), Ok(written));
}

/// Reads a body in chunks of these sizes, again and again; without any, in one.
fn read(content_type: &str, body: &[u8], sizes: &[u8]) -> Result<Parts, Fault> {
    let mut multipart = Multipart::new(content_type)?;
    let (mut parts, mut rest) = (Parts::new(), body);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size) + 1);
        let (chunk, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        multipart.push(chunk);
        while let Some(event) = multipart.event()? {
            match event {
                Event::Begin(part) => parts.push((part, Vec::new())),
                Event::Data(data) => parts.last_mut().expect("data is of a part").1.extend_from_slice(&data),
                Event::End => {}
            }
        }
    }
    multipart.check_end()?;
    Ok(parts)
}
